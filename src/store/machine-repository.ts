import type { Selectable } from 'kysely';
import { InternalError } from '#base/mod.ts';
import {
  holdsOf,
  MachineIndex,
  machineSchema,
  machineUnknown,
  type Machine,
  type MachineRepository,
} from '#machines/mod.ts';
import type { Database } from './database.ts';
import { ConstraintViolation } from './store-error.ts';
import { queryBuilder, type StateTables } from './tables.ts';

type Row = Selectable<StateTables['machines']>;

/** Machines in the state file. The tables' own rules refuse what two machines cannot share. */
export class SqliteMachineRepository implements MachineRepository {
  readonly #db: Database;
  readonly #query = queryBuilder<StateTables>();

  constructor(db: Database) {
    this.#db = db;
  }

  list(): readonly Machine[] {
    const macs = Map.groupBy(
      this.#db.all(this.#query.selectFrom('machine_macs').selectAll().orderBy('position')),
      (row) => row.machine,
    );
    const drives = Map.groupBy(
      this.#db.all(this.#query.selectFrom('machine_drives').selectAll().orderBy('position')),
      (row) => row.machine,
    );
    return this.#db
      .all(this.#query.selectFrom('machines').selectAll().orderBy('name'))
      .map((row) => machineOf(row, macs.get(row.id) ?? [], drives.get(row.id) ?? []));
  }

  get(id: string): Machine | undefined {
    const row = this.#db.get(this.#query.selectFrom('machines').selectAll().where('id', '=', id));
    if (row === undefined) return undefined;
    const macs = this.#query.selectFrom('machine_macs').selectAll().where('machine', '=', id);
    const drives = this.#query.selectFrom('machine_drives').selectAll().where('machine', '=', id);
    return machineOf(
      row,
      this.#db.all(macs.orderBy('position')),
      this.#db.all(drives.orderBy('position')),
    );
  }

  insert(machine: Machine): void {
    this.#explained(machine, () => {
      this.#db.run(this.#query.insertInto('machines').values(rowOf(machine)));
      this.#insertParts(machine);
    });
  }

  update(machine: Machine): void {
    this.#explained(machine, () => {
      const { id, ...columns } = rowOf(machine);
      const { changes } = this.#db.run(
        this.#query.updateTable('machines').set(columns).where('id', '=', id),
      );
      if (changes === 0) throw machineUnknown(machine.name);
      this.#db.run(this.#query.deleteFrom('machine_macs').where('machine', '=', id));
      this.#db.run(this.#query.deleteFrom('machine_drives').where('machine', '=', id));
      this.#db.run(this.#query.deleteFrom('image_holds').where('machine', '=', id));
      this.#insertParts(machine);
    });
  }

  remove(id: string): void {
    const { changes } = this.#db.run(this.#query.deleteFrom('machines').where('id', '=', id));
    if (changes === 0) throw machineUnknown(id);
  }

  transaction<T>(work: () => T): T {
    return this.#db.transaction(work);
  }

  #insertParts(machine: Machine): void {
    const { id } = machine;
    machine.macs.forEach((mac, position) => {
      this.#db.run(this.#query.insertInto('machine_macs').values({ mac, machine: id, position }));
    });
    machine.drives.forEach(({ image, mode }, position) => {
      this.#db.run(
        this.#query.insertInto('machine_drives').values({ machine: id, position, image, mode }),
      );
    });
    for (const { image, mode } of holdsOf(machine))
      this.#db.run(this.#query.insertInto('image_holds').values({ image, machine: id, mode }));
  }

  /** The table refuses; the index of all machines finds the words for it. */
  #explained(machine: Machine, work: () => void): void {
    try {
      this.#db.transaction(work);
    } catch (e) {
      if (e instanceof ConstraintViolation) new MachineIndex(this.list()).check(machine);
      throw e;
    }
  }
}

function rowOf(machine: Machine): Row {
  return {
    id: machine.id,
    name: machine.name,
    uuid: machine.uuid ?? null,
    address: machine.address ?? null,
    registered: machine.registered ? 1 : 0,
    plan: JSON.stringify(machine.plan),
    chap: json(machine.chap),
    loader: machine.loader ?? null,
    arch: machine.arch ?? null,
    next_boot: json(machine.nextBoot),
    this_boot: json(machine.thisBoot),
    note: machine.note ?? null,
    created_at_ms: Math.round(machine.createdAtMs),
    seen_at_ms: machine.seenAtMs === undefined ? null : Math.round(machine.seenAtMs),
  };
}

function machineOf(
  row: Row,
  macs: readonly { mac: string }[],
  drives: readonly { image: string; mode: string }[],
): Machine {
  const columns = {
    id: row.id,
    name: row.name,
    macs: macs.map(({ mac }) => mac),
    uuid: row.uuid,
    address: row.address,
    plan: parsed(row.plan),
    drives: drives.map(({ image, mode }) => ({ image, mode })),
    chap: parsed(row.chap),
    loader: row.loader,
    arch: row.arch,
    registered: row.registered === 1,
    nextBoot: parsed(row.next_boot),
    thisBoot: parsed(row.this_boot),
    createdAtMs: row.created_at_ms,
    seenAtMs: row.seen_at_ms,
    note: row.note,
  };
  const present = Object.entries(columns).filter(([, value]) => value !== null);
  const result = machineSchema.safeParse(Object.fromEntries(present));
  if (result.success) return result.data;
  throw new InternalError(`machine "${row.name}" in the state file: ${result.error.message}`);
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

function parsed(text: string | null): unknown {
  return text === null ? null : JSON.parse(text);
}
