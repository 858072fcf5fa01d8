import type { Machine } from './schema.ts';

/**
 * Where machines live. Synchronous on purpose: a boot decision reads, decides and commits without
 * another decision between. Every change outside `transaction` is durable when the call returns.
 *
 * An implementation guards what two callers could break: names, MAC addresses and fixed addresses
 * are unique, and an image that one machine holds `exclusive` is held by no other (see `holdsOf`).
 * It throws UserError `conflict` with the codes of `conflicts.ts`. Objects are copies or frozen.
 */
export interface MachineRepository {
  /** All machines, ordered by name (by code point). */
  list(): readonly Machine[];
  get(id: string): Machine | undefined;
  /** Throws UserError conflict. */
  insert(machine: Machine): void;
  /** Replaces the machine of that id. Throws UserError conflict, or not-found `machine-unknown`. */
  update(machine: Machine): void;
  /** Throws UserError not-found `machine-unknown`. */
  remove(id: string): void;
  /** All of `work` or nothing of it; durable when the outermost returns. An inner one that
   * throws is undone alone when its caller goes on. */
  transaction<T>(work: () => T): T;
}
