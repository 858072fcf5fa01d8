import { DecodeError } from '#base/mod.ts';
import { NO_KEY } from './reservation.ts';
import type { PersistentState, Registration } from './reservation.ts';

/** A mode page that MODE SELECT saved, as hex digits, and what the defaults were at that time. */
export type SavedPage = { readonly saved: string; readonly defaults: string };

/** What a unit keeps beyond the end of the process; plain data. */
export type UnitState = {
  /** Registrations and reservation with APTPL; null: nothing to keep. */
  readonly reservations: PersistentState | null;
  /** Pages saved by MODE SELECT with SP = 1. */
  readonly modePages: readonly SavedPage[];
};

/** A unit that never kept anything. */
export const EMPTY_UNIT_STATE: UnitState = { reservations: null, modePages: [] };

/**
 * Where a unit's state is kept. A unit without one refuses APTPL and SP = 1, since what cannot be
 * kept must not be promised.
 */
export interface UnitStateStore {
  readonly initial: UnitState;
  /**
   * Answered when the state is on stable media; called again only after the answer. After an error
   * the unit goes on with what it had before.
   */
  save(state: UnitState, done: (error: Error | null) => void): void;
}

/** Takes apart what a store kept. Throws `DecodeError` for anything but a `UnitState`. */
export function parseUnitState(value: unknown): UnitState {
  if (value === undefined) return EMPTY_UNIT_STATE;
  const { reservations, modePages } = record(value);
  return {
    reservations: reservations === null ? null : parseReservations(reservations),
    modePages: list(modePages).map((page) => {
      const { saved, defaults } = record(page);
      return { saved: hexText(saved), defaults: hexText(defaults) };
    }),
  };
}

function parseReservations(value: unknown): PersistentState {
  const { registrations, holder, type } = record(value);
  const known = list(registrations).map((r): Registration => {
    const { key } = record(r);
    if (hexText(key).length !== NO_KEY.length) throw wrong();
    return { ...parsePort(r), key: hexText(key) };
  });
  if (typeof type !== 'number') throw wrong();
  return { registrations: known, holder: holder === null ? null : parsePort(holder), type };
}

function parsePort(value: unknown): { initiatorPort: string; targetPort: number } {
  const { initiatorPort, targetPort } = record(value);
  if (typeof initiatorPort !== 'string' || typeof targetPort !== 'number') throw wrong();
  return { initiatorPort, targetPort };
}

function record(value: unknown): Known {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong();
  return value;
}

/** The names that are looked for; all of them may be absent. */
type Known = {
  readonly reservations?: unknown;
  readonly modePages?: unknown;
  readonly saved?: unknown;
  readonly defaults?: unknown;
  readonly registrations?: unknown;
  readonly holder?: unknown;
  readonly type?: unknown;
  readonly key?: unknown;
  readonly initiatorPort?: unknown;
  readonly targetPort?: unknown;
};

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong();
  return value;
}

function hexText(value: unknown): string {
  if (typeof value !== 'string' || !/^([0-9a-f]{2})+$/.test(value)) throw wrong();
  return value;
}

function wrong(): DecodeError {
  return new DecodeError('unit-state', 'this is not the state of a logical unit', 0);
}
