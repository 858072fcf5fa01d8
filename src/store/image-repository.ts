import { invariant } from '#base/mod.ts';
import {
  imageExists,
  imageOf,
  imageUnknown,
  type Image,
  type ImagePoint,
  type ImageRecord,
  type ImageRepository,
  type Layer,
  type LibraryChange,
  type MachineOverlay,
} from '#images/mod.ts';
import type { Database } from './database.ts';
import {
  imageRecord,
  imageRow,
  layerOf,
  layerRow,
  overlayOf,
  overlayRow,
  pointOf,
  pointRow,
} from './image-rows.ts';
import { queryBuilder, type StateTables } from './tables.ts';

/** The library's records in the state file; the tables check that nothing refers to nothing. */
export class SqliteImageRepository implements ImageRepository {
  readonly #db: Database;
  readonly #query = queryBuilder<StateTables>();

  constructor(db: Database) {
    this.#db = db;
  }

  list(): readonly Image[] {
    const layers = new Map(this.layers().map((layer) => [layer.id, layer]));
    return this.#db
      .all(this.#query.selectFrom('images').selectAll().orderBy('name'))
      .map((row) => joined(imageRecord(row), layers.get(row.head)));
  }

  get(name: string): Image | undefined {
    const row = this.#db.get(this.#query.selectFrom('images').selectAll().where('name', '=', name));
    return row === undefined ? undefined : joined(imageRecord(row), this.layer(row.head));
  }

  layers(): readonly Layer[] {
    return this.#db.all(this.#query.selectFrom('layers').selectAll().orderBy('id')).map(layerOf);
  }

  layer(id: string): Layer | undefined {
    const row = this.#db.get(this.#query.selectFrom('layers').selectAll().where('id', '=', id));
    return row === undefined ? undefined : layerOf(row);
  }

  points(): readonly ImagePoint[] {
    const query = this.#query.selectFrom('image_points').selectAll();
    return this.#db.all(query.orderBy('image').orderBy('number')).map(pointOf);
  }

  overlays(): readonly MachineOverlay[] {
    const query = this.#query.selectFrom('machine_overlays').selectAll();
    return this.#db.all(query.orderBy('machine').orderBy('image')).map(overlayOf);
  }

  overlay(machine: string, image: string): MachineOverlay | undefined {
    const query = this.#query.selectFrom('machine_overlays').selectAll();
    const row = this.#db.get(query.where('machine', '=', machine).where('image', '=', image));
    return row === undefined ? undefined : overlayOf(row);
  }

  commit(change: LibraryChange): void {
    this.#db.transaction(() => {
      for (const layer of change.putLayers ?? []) this.#putLayer(layer);
      for (const image of change.addImages ?? []) this.#addImage(image);
      for (const image of change.setImages ?? []) this.#setImage(image);
      for (const name of change.removeImages ?? []) this.#removeImage(name);
      for (const { image, number } of change.removePoints ?? []) {
        const query = this.#query.deleteFrom('image_points').where('image', '=', image);
        this.#db.run(query.where('number', '=', number));
      }
      for (const point of change.addPoints ?? [])
        this.#db.run(this.#query.insertInto('image_points').values(pointRow(point)));
      for (const overlay of change.putOverlays ?? []) this.#putOverlay(overlay);
      for (const { machine, image } of change.removeOverlays ?? []) {
        const query = this.#query.deleteFrom('machine_overlays').where('machine', '=', machine);
        this.#db.run(query.where('image', '=', image));
      }
      for (const id of change.removeLayers ?? [])
        this.#db.run(this.#query.deleteFrom('layers').where('id', '=', id));
    });
  }

  #putLayer(layer: Layer): void {
    const { id, ...columns } = layerRow(layer);
    this.#db.run(
      this.#query
        .insertInto('layers')
        .values({ id, ...columns })
        .onConflict((on) => on.column('id').doUpdateSet(columns)),
    );
  }

  #addImage(image: ImageRecord): void {
    if (this.get(image.name) !== undefined) throw imageExists(image.name);
    this.#db.run(this.#query.insertInto('images').values(imageRow(image)));
  }

  #setImage(image: ImageRecord): void {
    const { name, ...columns } = imageRow(image);
    const query = this.#query.updateTable('images').set(columns).where('name', '=', name);
    if (this.#db.run(query).changes === 0) throw imageUnknown(name);
  }

  #removeImage(name: string): void {
    const query = this.#query.deleteFrom('images').where('name', '=', name);
    if (this.#db.run(query).changes === 0) throw imageUnknown(name);
  }

  #putOverlay(overlay: MachineOverlay): void {
    const { machine, image, ...columns } = overlayRow(overlay);
    this.#db.run(
      this.#query
        .insertInto('machine_overlays')
        .values({ machine, image, ...columns })
        .onConflict((on) => on.columns(['machine', 'image']).doUpdateSet(columns)),
    );
  }
}

function joined(record: ImageRecord, head: Layer | undefined): Image {
  invariant(head !== undefined, `image "${record.name}" has a head`);
  return imageOf(record, head);
}
