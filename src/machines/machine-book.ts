import { silentLog, UserError, type Log } from '#base/mod.ts';
import { MACHINES_MAX } from './limits.ts';
import { MachineIndex } from './machine-index.ts';
import type { MachineRepository } from './repository.ts';
import type { Machine } from './schema.ts';

/** What became of one machine. `before` and `machine` are frozen. */
export type MachineEvent =
  | { readonly kind: 'added'; readonly machine: Machine }
  | { readonly kind: 'changed'; readonly before: Machine; readonly machine: Machine }
  | { readonly kind: 'removed'; readonly machine: Machine };

/** Several changes that stand or fall together. */
export type MachineBatch = {
  readonly put?: readonly Machine[];
  readonly remove?: readonly Machine[];
};

/**
 * The machines as this process sees them: an index in memory over the repository, changed only
 * through `commit`, which keeps the two equal. This process is the store's only writer.
 *
 * check → store (durable) → index → tell subscribers; a failed step changes nothing.
 */
export class MachineBook {
  readonly #repository: MachineRepository;
  readonly #index: MachineIndex;
  readonly #subscribers = new Set<(event: MachineEvent) => void>();
  readonly #log: Log;

  constructor(repository: MachineRepository, log: Log = silentLog) {
    this.#repository = repository;
    this.#index = new MachineIndex(repository.list().map(frozen));
    this.#log = log;
  }

  get machines(): Omit<MachineIndex, 'put' | 'drop' | 'check'> {
    return this.#index;
  }

  /** Calls `fn` after each committed change until the result is called. */
  subscribe(fn: (event: MachineEvent) => void): () => void {
    this.#subscribers.add(fn);
    return () => {
      this.#subscribers.delete(fn);
    };
  }

  /** Throws UserError conflict when `batch` cannot be committed. Changes nothing. */
  check(batch: MachineBatch): void {
    const undo = this.#try(batch);
    undo();
  }

  /** Commits all of `batch` or nothing; durable when it returns. Throws UserError conflict. */
  commit(batch: MachineBatch): void {
    const put = (batch.put ?? []).map(frozen);
    const remove = batch.remove ?? [];
    const before = new Map(put.map(({ id }) => [id, this.#index.get(id)]));
    const undo = this.#try({ put, remove });
    try {
      this.#store(put, remove, before);
    } catch (e) {
      undo();
      throw e;
    }
    for (const machine of remove) this.#tell({ kind: 'removed', machine });
    for (const machine of put) {
      const old = before.get(machine.id);
      this.#tell(
        old === undefined ? { kind: 'added', machine } : { kind: 'changed', before: old, machine },
      );
    }
  }

  /** Puts `batch` into the index and returns how to take it out again. */
  #try(batch: MachineBatch): () => void {
    const put = batch.put ?? [];
    const remove = batch.remove ?? [];
    const old = [...remove, ...put].flatMap(({ id }) => this.#index.get(id) ?? []);
    const undo = (): void => {
      for (const { id } of put) this.#index.drop(id);
      for (const machine of old) this.#index.put(machine);
    };
    for (const { id } of old) this.#index.drop(id);
    try {
      for (const machine of put) {
        if (this.#index.full) throw machinesFull();
        this.#index.check(machine);
        this.#index.put(machine);
      }
    } catch (e) {
      undo();
      throw e;
    }
    return undo;
  }

  #store(
    put: readonly Machine[],
    remove: readonly Machine[],
    before: ReadonlyMap<string, Machine | undefined>,
  ): void {
    const known = put.filter(({ id }) => before.get(id) !== undefined);
    this.#repository.transaction(() => {
      for (const { id } of remove) this.#repository.remove(id);
      if (put.length === 1 && known.length === 1) {
        for (const machine of put) this.#repository.update(machine);
        return;
      }
      // Two machines may swap an address or an image: all old ones leave before the new ones come.
      for (const { id } of known) this.#repository.remove(id);
      for (const machine of put) this.#repository.insert(machine);
    });
  }

  #tell(event: MachineEvent): void {
    for (const fn of this.#subscribers) {
      try {
        fn(event);
      } catch (error) {
        // The change is committed; one listener's failure is neither the caller's nor the others'.
        this.#log.error({ error, machine: event.machine.name }, 'a listener to machines failed');
      }
    }
  }
}

function machinesFull(): UserError {
  return new UserError('conflict', 'machines-full', {
    what: `there are ${MACHINES_MAX} machines already, and no room for more`,
    todo: 'remove machines that are gone (polyboot machine rm)',
  });
}

function frozen(machine: Machine): Machine {
  return Object.isFrozen(machine) ? machine : deepFreeze(structuredClone(machine));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
