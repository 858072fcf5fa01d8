import { invariant } from '#base/mod.ts';
import { machineUnknown } from './conflicts.ts';
import { MachineIndex } from './machine-index.ts';
import type { MachineRepository } from './repository.ts';
import type { Machine } from './schema.ts';

/** Machines in memory, for tests and for runs that keep nothing. */
export class MemoryMachineRepository implements MachineRepository {
  #index = new MachineIndex();

  list(): readonly Machine[] {
    return structuredClone(this.#index.list());
  }

  get(id: string): Machine | undefined {
    return structuredClone(this.#index.get(id));
  }

  insert(machine: Machine): void {
    invariant(this.#index.get(machine.id) === undefined, `machine id ${machine.id} is taken`);
    this.#index.check(machine);
    this.#index.put(structuredClone(machine));
  }

  update(machine: Machine): void {
    if (this.#index.get(machine.id) === undefined) throw machineUnknown(machine.name);
    this.#index.check(machine);
    this.#index.put(structuredClone(machine));
  }

  remove(id: string): void {
    if (this.#index.get(id) === undefined) throw machineUnknown(id);
    this.#index.drop(id);
  }

  transaction<T>(work: () => T): T {
    const before = this.#index.list();
    try {
      return work();
    } catch (e) {
      this.#index = new MachineIndex(before);
      throw e;
    }
  }
}
