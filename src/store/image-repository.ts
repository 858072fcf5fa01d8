import type { Selectable } from 'kysely';
import { InternalError } from '#base/mod.ts';
import {
  IMAGE_KINDS,
  imageExists,
  imageUnknown,
  type Image,
  type ImageRepository,
} from '#images/mod.ts';
import type { Database } from './database.ts';
import { ConstraintViolation } from './store-error.ts';
import { queryBuilder, type StateTables } from './tables.ts';

type Row = Selectable<StateTables['images']>;

/** The library's records in the state file. */
export class SqliteImageRepository implements ImageRepository {
  readonly #db: Database;
  readonly #query = queryBuilder<StateTables>();

  constructor(db: Database) {
    this.#db = db;
  }

  list(): readonly Image[] {
    return this.#db.all(this.#query.selectFrom('images').selectAll().orderBy('name')).map(imageOf);
  }

  get(name: string): Image | undefined {
    const row = this.#db.get(this.#query.selectFrom('images').selectAll().where('name', '=', name));
    return row === undefined ? undefined : imageOf(row);
  }

  insert(image: Image): void {
    try {
      this.#db.run(this.#query.insertInto('images').values(rowOf(image)));
    } catch (e) {
      if (e instanceof ConstraintViolation) throw imageExists(image.name);
      throw e;
    }
  }

  update(image: Image): void {
    const { name, ...columns } = rowOf(image);
    const query = this.#query.updateTable('images').set(columns).where('name', '=', name);
    if (this.#db.run(query).changes === 0) throw imageUnknown(name);
  }

  remove(name: string): void {
    const query = this.#query.deleteFrom('images').where('name', '=', name);
    if (this.#db.run(query).changes === 0) throw imageUnknown(name);
  }
}

function rowOf(image: Image): Row {
  return {
    name: image.name,
    kind: image.kind,
    path: image.path,
    size_bytes: image.sizeBytes,
    block_bytes: image.blockBytes,
    owned: image.owned ? 1 : 0,
    created_at_ms: Math.round(image.createdAtMs),
    note: image.note ?? null,
    source: image.source ?? null,
  };
}

function imageOf(row: Row): Image {
  const kind = IMAGE_KINDS.find((known) => known === row.kind);
  if (kind === undefined)
    throw new InternalError(`image "${row.name}" in the state file: no kind "${row.kind}"`);
  return {
    name: row.name,
    kind,
    path: row.path,
    sizeBytes: row.size_bytes,
    blockBytes: row.block_bytes,
    owned: row.owned === 1,
    createdAtMs: row.created_at_ms,
    ...(row.note === null ? {} : { note: row.note }),
    ...(row.source === null ? {} : { source: row.source }),
  };
}
