import { invariant } from '#base/mod.ts';
import { imageExists, imageUnknown } from './errors.ts';
import { imageOf, recordOf, type Image, type ImageRecord } from './image.ts';
import type { ImagePoint, Layer, MachineOverlay } from './layer.ts';
import type { ImageRepository, LibraryChange } from './repository.ts';

type Tables = {
  readonly layers: Map<string, Layer>;
  readonly images: Map<string, ImageRecord>;
  readonly points: Map<string, ImagePoint>;
  readonly overlays: Map<string, MachineOverlay>;
};

/** Records in memory, for tests and for runs that keep nothing. */
export class MemoryImageRepository implements ImageRepository {
  #tables: Tables = {
    layers: new Map(),
    images: new Map(),
    points: new Map(),
    overlays: new Map(),
  };

  list(): readonly Image[] {
    return [...this.#tables.images.values()]
      .sort((a, b) => byText(a.name, b.name))
      .map((record) => this.#joined(record));
  }

  get(name: string): Image | undefined {
    const record = this.#tables.images.get(name);
    return record === undefined ? undefined : this.#joined(record);
  }

  layers(): readonly Layer[] {
    return [...this.#tables.layers.values()].sort((a, b) => byText(a.id, b.id));
  }

  layer(id: string): Layer | undefined {
    return this.#tables.layers.get(id);
  }

  points(): readonly ImagePoint[] {
    return [...this.#tables.points.values()].sort(
      (a, b) => byText(a.image, b.image) || a.number - b.number,
    );
  }

  overlays(): readonly MachineOverlay[] {
    return [...this.#tables.overlays.values()].sort(
      (a, b) => byText(a.machine, b.machine) || byText(a.image, b.image),
    );
  }

  overlay(machine: string, image: string): MachineOverlay | undefined {
    return this.#tables.overlays.get(overlayKey({ machine, image }));
  }

  commit(change: LibraryChange): void {
    const { layers, images, points, overlays } = this.#tables;
    const next: Tables = {
      layers: new Map(layers),
      images: new Map(images),
      points: new Map(points),
      overlays: new Map(overlays),
    };
    applyChange(next, change);
    checkReferences(next);
    this.#tables = next;
  }

  #joined(record: ImageRecord): Image {
    const head = this.#tables.layers.get(record.head);
    invariant(head !== undefined, `image "${record.name}" has a head`);
    return imageOf(record, head);
  }
}

function applyChange(next: Tables, change: LibraryChange): void {
  for (const layer of change.putLayers ?? []) next.layers.set(layer.id, { ...layer });
  for (const image of change.addImages ?? []) {
    if (next.images.has(image.name)) throw imageExists(image.name);
    next.images.set(image.name, recordOf(image));
  }
  for (const image of change.setImages ?? []) {
    if (!next.images.has(image.name)) throw imageUnknown(image.name);
    next.images.set(image.name, recordOf(image));
  }
  for (const name of change.removeImages ?? [])
    if (!next.images.delete(name)) throw imageUnknown(name);
  for (const point of change.removePoints ?? []) next.points.delete(pointKey(point));
  for (const point of change.addPoints ?? []) next.points.set(pointKey(point), { ...point });
  for (const overlay of change.putOverlays ?? [])
    next.overlays.set(overlayKey(overlay), { ...overlay });
  for (const overlay of change.removeOverlays ?? []) next.overlays.delete(overlayKey(overlay));
  for (const id of change.removeLayers ?? []) next.layers.delete(id);
}

function checkReferences({ layers, images, points, overlays }: Tables): void {
  const layer = (id: string, of: string): void => {
    invariant(layers.has(id), `layer ${id} of ${of} is not there`);
  };
  for (const { id, parent } of layers.values()) if (parent !== undefined) layer(parent, id);
  for (const { name, head } of images.values()) layer(head, name);
  for (const point of [...points.values(), ...overlays.values()]) {
    layer(point.layer, point.image);
    invariant(images.has(point.image), `image ${point.image} is not there`);
  }
}

function pointKey({ image, number }: Pick<ImagePoint, 'image' | 'number'>): string {
  return `${image} ${number}`;
}

function overlayKey({ machine, image }: Pick<MachineOverlay, 'machine' | 'image'>): string {
  return `${machine} ${image}`;
}

/** By code point, as SQLite's BINARY collation orders ASCII. */
function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
