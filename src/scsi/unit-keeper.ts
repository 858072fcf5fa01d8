import type { UnitState, UnitStateStore } from './unit-state.ts';
import { EMPTY_UNIT_STATE } from './unit-state.ts';

/** What one unit keeps, and whether the store has it. Without a store nothing is ever kept. */
export class UnitKeeper {
  readonly #store: UnitStateStore | undefined;
  #kept: UnitState;
  #certain = true;

  constructor(store: UnitStateStore | undefined) {
    this.#store = store;
    this.#kept = store?.initial ?? EMPTY_UNIT_STATE;
  }

  /** There is somewhere to keep it. */
  get possible(): boolean {
    return this.#store !== undefined;
  }

  /** What was kept last. */
  get kept(): UnitState {
    return this.#kept;
  }

  /**
   * Keeps a change: resolves when it is on stable media, at once when nothing changes. One call at
   * a time. Rejects with what the store says.
   */
  async keep(change: Partial<UnitState>): Promise<void> {
    const store = this.#store;
    const next = { ...this.#kept, ...change };
    if (store === undefined) return;
    if (this.#certain && JSON.stringify(next) === JSON.stringify(this.#kept)) return;
    // A save that failed may nevertheless be there after a crash: the next one writes in any case.
    this.#certain = false;
    await new Promise<void>((resolve, reject) => {
      store.save(next, (error) => (error === null ? resolve() : reject(error)));
    });
    this.#kept = next;
    this.#certain = true;
  }
}
