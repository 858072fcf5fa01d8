import type { ReservationRule } from './reservation.ts';
import { readCapacity10, readCapacity16 } from './sbc/capacity.ts';
import { read, write } from './sbc/read-write.ts';
import { synchronizeCache } from './sbc/sync-cache.ts';
import { inquiry } from './spc/inquiry.ts';
import { modeSense10, modeSense6 } from './spc/mode-sense.ts';
import { reportLuns } from './spc/report-luns.ts';
import { requestSense } from './spc/request-sense.ts';
import { testUnitReady } from './spc/test-unit-ready.ts';
import { CommandTable } from './table.ts';
import type { CommandBody, CommandRow, LbaRule, Scope } from './table.ts';
import type { LogicalUnit } from './unit.ts';

type RowRules = {
  readonly action?: number;
  readonly direction?: 'in' | 'out';
  readonly reservation?: ReservationRule;
  readonly lba?: LbaRule;
  readonly needs?: 'medium';
  readonly scope?: Scope;
};

/** Shorthand of the table: the CDB usage data in hex, then what is not the usual. */
function row(name: string, cdb: string, body: CommandBody, rules: RowRules = {}): CommandRow {
  const reservation = rules.reservation ?? 'allowed';
  return {
    name,
    cdb: Buffer.from(cdb.replaceAll(' ', ''), 'hex'),
    action: rules.action ?? -1,
    direction: rules.direction ?? 'none',
    reservation,
    lba: rules.lba ?? null,
    needs: rules.needs ?? 'nothing',
    writes: reservation === 'write',
    scope: rules.scope ?? 'all',
    body,
  };
}

const lba = (
  lbaAt: number,
  lbaBytes: number,
  countAt: number,
  countBytes: number,
  zero: LbaRule['zero'] = 'nothing',
  moves = true,
): LbaRule => ({ lbaAt, lbaBytes, countAt, countBytes, zero, moves });

const LBA_6 = lba(1, 3, 4, 1, '256');
const LBA_10 = lba(2, 4, 7, 2);
const LBA_12 = lba(2, 4, 6, 4);
const LBA_16 = lba(2, 8, 10, 4);
/** A count of zero reaches to the last block; nothing is moved. */
const SPAN_10 = lba(2, 4, 7, 2, 'rest', false);
const SPAN_16 = lba(2, 8, 10, 4, 'rest', false);

const reads = { direction: 'in', reservation: 'read', needs: 'medium' } as const;
const writes = { direction: 'out', reservation: 'write', needs: 'medium', scope: 'disk' } as const;
const asks = { direction: 'in' } as const;

/**
 * THE TABLE: every command we have, and nothing that we have not. A command without a row is
 * ILLEGAL REQUEST. Order: SPC, SBC, MMC, each by operation code.
 */
const COMMANDS: readonly CommandRow[] = [
  row('TEST UNIT READY', '00 00 00 00 00 00', testUnitReady, { needs: 'medium' }),
  row('REQUEST SENSE', '03 01 00 00 ff 00', requestSense, { ...asks, reservation: 'always' }),
  row('INQUIRY', '12 01 ff ff ff 00', inquiry, { ...asks, reservation: 'always' }),
  row('MODE SENSE(6)', '1a 08 ff ff ff 00', modeSense6, asks),
  row('MODE SENSE(10)', '5a 18 ff ff 00 00 00 ff ff 00', modeSense10, asks),
  row('REPORT LUNS', 'a0 00 ff 00 00 00 ff ff ff ff 00 00', reportLuns, {
    ...asks,
    reservation: 'always',
  }),

  row('READ(6)', '08 1f ff ff ff 00', read, { ...reads, lba: LBA_6 }),
  row('WRITE(6)', '0a 1f ff ff ff 00', write, { ...writes, lba: LBA_6 }),
  row('READ CAPACITY(10)', '25 00 00 00 00 00 00 00 00 00', readCapacity10, {
    ...asks,
    needs: 'medium',
  }),
  row('READ(10)', '28 18 ff ff ff ff 00 ff ff 00', read, { ...reads, lba: LBA_10 }),
  row('WRITE(10)', '2a 18 ff ff ff ff 00 ff ff 00', write, { ...writes, lba: LBA_10 }),
  row('SYNCHRONIZE CACHE(10)', '35 02 ff ff ff ff 00 ff ff 00', synchronizeCache, {
    reservation: 'write',
    needs: 'medium',
    lba: SPAN_10,
  }),
  row('READ(16)', '88 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00', read, {
    ...reads,
    lba: LBA_16,
  }),
  row('WRITE(16)', '8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00', write, {
    ...writes,
    lba: LBA_16,
  }),
  row(
    'SYNCHRONIZE CACHE(16)',
    '91 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 00',
    synchronizeCache,
    {
      reservation: 'write',
      needs: 'medium',
      lba: SPAN_16,
    },
  ),
  row('READ CAPACITY(16)', '9e 10 00 00 00 00 00 00 00 00 ff ff ff ff 00 00', readCapacity16, {
    ...asks,
    action: 0x10,
    needs: 'medium',
    scope: 'disk',
  }),
  row('READ(12)', 'a8 18 ff ff ff ff ff ff ff ff 00 00', read, { ...reads, lba: LBA_12 }),
  row('WRITE(12)', 'aa 18 ff ff ff ff ff ff ff ff 00 00', write, { ...writes, lba: LBA_12 }),
];

/** The rows that a unit has. */
export function commandsOf(unit: LogicalUnit): CommandTable {
  const has: Readonly<Record<Scope, boolean>> = {
    all: true,
    disk: unit.kind === 'disk',
    cdrom: unit.kind === 'cdrom',
    removable: unit.removable,
    thin: unit.thin,
  };
  return new CommandTable(COMMANDS.filter((r) => has[r.scope]));
}
