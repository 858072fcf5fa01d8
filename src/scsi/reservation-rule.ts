import { u8 } from './bytes.ts';
import type { ReservationRule } from './reservation.ts';
import type { CommandRow } from './table.ts';

/** The rule of one command: of two of them it depends on what the CDB asks for. */
export function reservationRuleOf(row: CommandRow, cdb: Uint8Array): ReservationRule {
  const rule = row.reservation;
  if (rule === 'start') {
    // As writing, unless it only starts (SBC-3 table 13).
    const startsOnly = (u8(cdb, 4) & 0xf1) === 0x01;
    return startsOnly ? 'allowed' : 'write';
  }
  // Anyone may take back what he prevented (SPC-4 table 66).
  if (rule === 'prevent') return (u8(cdb, 4) & 0x01) === 0 ? 'allowed' : 'write';
  return rule;
}
