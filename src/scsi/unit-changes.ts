import type { Nexus } from './command.ts';
import type { ReservationEvent, Reservations } from './reservation.ts';
import { Sense } from './sense.ts';
import type { LogicalUnit } from './unit.ts';

/** Changes the copy of a unit's reservations that it is given; throws `ScsiError`. */
export type ReservationChange = (next: Reservations) => readonly ReservationEvent[];

/**
 * PERSISTENT RESERVE OUT: `act` works on a copy, which is in force when it is kept (durability
 * contract 10). One change of a unit at a time. Resolves with whom `act` told; rejects as it
 * throws.
 */
export async function changeReservations(
  unit: LogicalUnit,
  act: ReservationChange,
): Promise<readonly ReservationEvent[]> {
  const next = unit.reservations.copy();
  const events = act(next);
  await unit.keeper.keep({ reservations: next.snapshot() });
  next.legacyHolder = unit.reservations.legacyHolder;
  unit.reservations = next;
  unit.update();
  unit.tellRegistrants(events);
  return events;
}

/**
 * MODE SELECT: the pages of a parameter list from `from` on; `save` keeps them (SP). All or
 * nothing: with WCE from 1 to 0 what the cache holds is flushed first (SBC-3 §6.5.6), and writes
 * that end meanwhile already are as the new pages say. A failed unit takes none, since GOOD would
 * say that its cache was flushed (durability contract 4).
 */
export async function selectModes(
  unit: LogicalUnit,
  nexus: Nexus,
  pages: { readonly list: Uint8Array; readonly from: number; readonly save: boolean },
): Promise<void> {
  const { modes } = unit;
  if (unit.medium.failed) unit.checkReady();
  const before = modes.draft(new Uint8Array(), 0);
  const draft = modes.draft(pages.list, pages.from);
  const cached = modes.writeCache;
  modes.adopt(draft, false);
  unit.update();
  try {
    if (cached && !modes.writeCache) await unit.flush();
    if (pages.save) await unit.keeper.keep({ modePages: modes.toSave(draft) });
  } catch (e) {
    modes.adopt(before, false);
    unit.update();
    throw e;
  }
  if (pages.save) modes.adopt(draft, true);
  if (draft.changed) unit.attentions.establishForAll(Sense.MODE_PARAMETERS_CHANGED, nexus);
}
