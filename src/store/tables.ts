import {
  DummyDriver,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';

/** The columns of the state file; `migrations.ts` makes them. JSON columns hold what zod checks. */
export type StateTables = {
  machines: {
    id: string;
    name: string;
    uuid: string | null;
    address: string | null;
    registered: number;
    plan: string;
    chap: string | null;
    loader: string | null;
    arch: number | null;
    next_boot: string | null;
    this_boot: string | null;
    note: string | null;
    created_at_ms: number;
    seen_at_ms: number | null;
  };
  machine_macs: { mac: string; machine: string; position: number };
  machine_drives: { machine: string; position: number; image: string; mode: string };
  image_holds: { image: string; machine: string; mode: string };
  layers: {
    id: string;
    path: string;
    format: string;
    parent: string | null;
    size_bytes: number;
    block_bytes: number;
    frozen: string | null;
    owned: number;
    created_at_ms: number;
    grow_to: number | null;
  };
  images: {
    name: string;
    head: string;
    created_at_ms: number;
    last_point: number;
    note: string | null;
    source: string | null;
  };
  image_points: {
    image: string;
    number: number;
    layer: string;
    comment: string | null;
    created_at_ms: number;
  };
  machine_overlays: {
    machine: string;
    machine_name: string;
    image: string;
    layer: string;
    host_boot: string | null;
    next: string | null;
    created_at_ms: number;
  };
  settings: { key: string; value: string };
};

/** The columns of the event file. */
export type EventTables = {
  events: {
    id: number;
    at_ms: number;
    boot: string;
    machine: string | null;
    mac: string;
    stage: string;
    facts: string;
    problem: string | null;
  };
};

/** A query builder that only builds: `Database` runs what it compiles. */
export function queryBuilder<Tables>(): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  });
}
