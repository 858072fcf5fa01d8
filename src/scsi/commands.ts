/** @table The SCSI commands. */
import { getConfiguration } from './mmc/configuration.ts';
import { readDiscInformation } from './mmc/disc-information.ts';
import { readDvdStructure } from './mmc/dvd-structure.ts';
import { getEventStatus } from './mmc/event-status.ts';
import { mechanismStatus } from './mmc/mechanism-status.ts';
import { readCd } from './mmc/read-cd.ts';
import { readToc } from './mmc/toc.ts';
import { readTrackInformation } from './mmc/track-information.ts';
import type { ReservationRule } from './reservation.ts';
import { readCapacity10, readCapacity16 } from './sbc/capacity.ts';
import { compareAndWrite } from './sbc/compare-and-write.ts';
import { readDefectData10, readDefectData12 } from './sbc/defect-data.ts';
import { getLbaStatus } from './sbc/lba-status.ts';
import { orWrite } from './sbc/or-write.ts';
import { preFetch } from './sbc/pre-fetch.ts';
import { read, write } from './sbc/read-write.ts';
import {
  sanitizeBlockErase,
  sanitizeCryptoErase,
  sanitizeExitFailureMode,
  sanitizeOverwrite,
} from './sbc/sanitize.ts';
import { startStop } from './sbc/start-stop.ts';
import { synchronizeCache } from './sbc/sync-cache.ts';
import { unmap } from './sbc/unmap.ts';
import { verify, writeAndVerify } from './sbc/verify.ts';
import { writeAtomic } from './sbc/write-atomic.ts';
import { writeSame } from './sbc/write-same.ts';
import { copyOperatingParameters, copyStatus } from './spc/copy-results.ts';
import { extendedCopy } from './spc/extended-copy.ts';
import { inquiry } from './spc/inquiry.ts';
import { logSense } from './spc/log-sense.ts';
import { modeSelect10, modeSelect6 } from './spc/mode-select.ts';
import { modeSense10, modeSense6 } from './spc/mode-sense.ts';
import {
  readFullStatus,
  readKeys,
  readReservation,
  reportCapabilities,
} from './spc/persistent-in.ts';
import {
  clear,
  preempt,
  preemptAndAbort,
  register,
  registerAndIgnore,
  registerAndMove,
  releasePersistent,
  reservePersistent,
} from './spc/persistent-out.ts';
import { preventAllow } from './spc/prevent-allow.ts';
import { reportLuns } from './spc/report-luns.ts';
import { requestSense } from './spc/request-sense.ts';
import { release, reserve } from './spc/reserve.ts';
import { sendDiagnostic } from './spc/send-diagnostic.ts';
import { reportSupportedOpcodes } from './spc/supported-opcodes.ts';
import { reportSupportedTmf } from './spc/supported-tmf.ts';
import { reportTargetPortGroups } from './spc/target-port-groups.ts';
import { testUnitReady } from './spc/test-unit-ready.ts';
import { CommandTable } from './table.ts';
import type { AllocationRule, CommandBody, CommandRow, LbaRule, Scope } from './table.ts';
import type { LogicalUnit } from './unit.ts';

type RowRules = {
  readonly action?: number;
  readonly direction?: 'in' | 'out';
  readonly reservation?: ReservationRule;
  readonly lba?: LbaRule;
  readonly allocation?: AllocationRule;
  readonly needs?: 'medium';
  readonly scope?: Scope;
  /** Checked against write protection; by default what is refused where writing is reserved. */
  readonly writes?: boolean;
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
    allocation: rules.allocation ?? null,
    needs: rules.needs ?? 'nothing',
    writes: rules.writes ?? reservation === 'write',
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
/** READ CD counts with three bytes. */
const LBA_CD = lba(2, 4, 6, 3);
const LBA_12 = lba(2, 4, 6, 4);
const LBA_16 = lba(2, 8, 10, 4);
/** A count of zero reaches to the last block; nothing is moved. */
const SPAN_10 = lba(2, 4, 7, 2, 'rest', false);
const SPAN_16 = lba(2, 8, 10, 4, 'rest', false);

/** The LBA alone: one block must be there. */
const LBA_ONLY = lba(2, 8, 0, 0, 'nothing', false);
const LBA_ATOMIC = lba(2, 8, 12, 2, 'nothing', false);
const LBA_COMPARE = lba(2, 8, 13, 1, 'nothing', false);

/** The common tails of CDBs that begin alike. */
const WIDE = 'ff ff ff ff ff ff ff ff ff ff ff ff 1f 00';
const PR_IN = '00 00 00 00 00 ff ff 00';
const PR_OUT = 'ff 00 00 ff ff ff ff 00';
const COPY_RESULTS = '00 00 00 00 00 00 00 ff ff ff ff 00 00';
const SANITIZE = '00 00 00 00 00 ff ff 00';

/** Data for the initiator, with an allocation length where CDBs of this length have it. */
const asks = (at: number, bytes: number): RowRules => ({
  direction: 'in',
  allocation: { at, bytes },
});
const asks6 = asks(4, 1);
const asks10 = asks(7, 2);
const asks12 = asks(6, 4);
const asks16 = asks(10, 4);
/** Refused where reading is (SPC-4 table 66, SBC-3 table 13). */
const peeks = { reservation: 'read' } as const;
const always = { reservation: 'always' } as const;
const own = { reservation: 'own' } as const;
/** Refused where writing is, though the medium is not written. */
const sets = { direction: 'out', reservation: 'write', writes: false } as const;
const reads = { direction: 'in', reservation: 'read', needs: 'medium' } as const;
const spans = { reservation: 'read', needs: 'medium', scope: 'disk' } as const;
const verifies = { ...spans, direction: 'out' } as const;
const writes = { direction: 'out', reservation: 'write', needs: 'medium', scope: 'disk' } as const;
const flushes = { reservation: 'write', writes: false, needs: 'medium' } as const;
const sanitizes = { reservation: 'write', scope: 'disk' } as const;
const disc = { ...asks10, scope: 'cdrom' } as const;

/**
 * THE TABLE: every command we have, and nothing that we have not. A command without a row is
 * ILLEGAL REQUEST. Order: SPC, SBC, MMC, each by operation code.
 */
const COMMANDS: readonly CommandRow[] = [
  row('TEST UNIT READY', '00 00 00 00 00 00', testUnitReady, { needs: 'medium' }),
  row('REQUEST SENSE', '03 01 00 00 ff 00', requestSense, { ...asks6, ...always }),
  row('INQUIRY', '12 01 ff ff ff 00', inquiry, { ...asks(3, 2), ...always }),
  row('MODE SELECT(6)', '15 10 00 00 ff 00', modeSelect6, { ...sets, scope: 'unsaved' }),
  row('MODE SELECT(6)', '15 11 00 00 ff 00', modeSelect6, { ...sets, scope: 'saved' }),
  row('RESERVE(6)', '16 00 00 00 00 00', reserve, own),
  row('RELEASE(6)', '17 00 00 00 00 00', release, always),
  row('MODE SENSE(6)', '1a 08 ff ff ff 00', modeSense6, { ...asks6, ...peeks }),
  row('SEND DIAGNOSTIC', '1d 14 00 00 00 00', sendDiagnostic, {
    reservation: 'write',
    writes: false,
    needs: 'medium',
  }),
  row('PREVENT ALLOW MEDIUM REMOVAL', '1e 00 00 00 01 00', preventAllow, {
    scope: 'removable',
    reservation: 'prevent',
  }),
  row('LOG SENSE', '4d 00 ff ff 00 00 00 ff ff 00', logSense, asks10),
  row('MODE SELECT(10)', '55 10 00 00 00 00 00 ff ff 00', modeSelect10, {
    ...sets,
    scope: 'unsaved',
  }),
  row('MODE SELECT(10)', '55 11 00 00 00 00 00 ff ff 00', modeSelect10, {
    ...sets,
    scope: 'saved',
  }),
  row('RESERVE(10)', '56 00 00 00 00 00 00 00 00 00', reserve, own),
  row('RELEASE(10)', '57 00 00 00 00 00 00 00 00 00', release, always),
  row('MODE SENSE(10)', '5a 18 ff ff 00 00 00 ff ff 00', modeSense10, { ...asks10, ...peeks }),
  row('PR IN READ KEYS', `5e 00 ${PR_IN}`, readKeys, { ...asks10, action: 0x00 }),
  row('PR IN READ RESERVATION', `5e 01 ${PR_IN}`, readReservation, { ...asks10, action: 0x01 }),
  row('PR IN REPORT CAPABILITIES', `5e 02 ${PR_IN}`, reportCapabilities, {
    ...asks10,
    action: 0x02,
  }),
  row('PR IN READ FULL STATUS', `5e 03 ${PR_IN}`, readFullStatus, { ...asks10, action: 0x03 }),
  row('PR OUT REGISTER', `5f 00 ${PR_OUT}`, register, { ...own, action: 0x00 }),
  row('PR OUT RESERVE', `5f 01 ${PR_OUT}`, reservePersistent, { ...own, action: 0x01 }),
  row('PR OUT RELEASE', `5f 02 ${PR_OUT}`, releasePersistent, { ...own, action: 0x02 }),
  row('PR OUT CLEAR', `5f 03 ${PR_OUT}`, clear, { ...own, action: 0x03 }),
  row('PR OUT PREEMPT', `5f 04 ${PR_OUT}`, preempt, { ...own, action: 0x04 }),
  row('PR OUT PREEMPT AND ABORT', `5f 05 ${PR_OUT}`, preemptAndAbort, { ...own, action: 0x05 }),
  row('PR OUT REGISTER AND IGNORE EXISTING KEY', `5f 06 ${PR_OUT}`, registerAndIgnore, {
    ...own,
    action: 0x06,
  }),
  row('PR OUT REGISTER AND MOVE', `5f 07 ${PR_OUT}`, registerAndMove, { ...own, action: 0x07 }),
  row('EXTENDED COPY(LID1)', '83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00', extendedCopy, {
    direction: 'out',
    // Its own rights are checked for each unit it touches.
    reservation: 'write',
    writes: false,
    action: 0x00,
    scope: 'disk',
  }),
  row('RECEIVE COPY STATUS(LID1)', `84 00 ff ${COPY_RESULTS}`, copyStatus, {
    ...asks16,
    ...peeks,
    action: 0x00,
    scope: 'disk',
  }),
  row('RECEIVE COPY OPERATING PARAMETERS', `84 03 00 ${COPY_RESULTS}`, copyOperatingParameters, {
    ...asks16,
    ...peeks,
    action: 0x03,
    scope: 'disk',
  }),
  row('REPORT LUNS', 'a0 00 ff 00 00 00 ff ff ff ff 00 00', reportLuns, { ...asks12, ...always }),
  row('REPORT TARGET PORT GROUPS', 'a3 ea 00 00 00 00 ff ff ff ff 00 00', reportTargetPortGroups, {
    ...asks12,
    action: 0x0a,
  }),
  row(
    'REPORT SUPPORTED OPERATION CODES',
    'a3 0c 87 ff ff ff ff ff ff ff 00 00',
    reportSupportedOpcodes,
    { ...asks12, ...peeks, action: 0x0c },
  ),
  row(
    'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
    'a3 0d 80 00 00 00 ff ff ff ff 00 00',
    reportSupportedTmf,
    { ...asks12, ...peeks, action: 0x0d },
  ),

  row('READ(6)', '08 1f ff ff ff 00', read, { ...reads, lba: LBA_6 }),
  row('WRITE(6)', '0a 1f ff ff ff 00', write, { ...writes, lba: LBA_6 }),
  row('START STOP UNIT', '1b 01 00 0f f7 00', startStop, { reservation: 'start' }),
  row('READ CAPACITY(10)', '25 00 00 00 00 00 00 00 00 00', readCapacity10, {
    direction: 'in',
    needs: 'medium',
  }),
  row('READ(10)', '28 18 ff ff ff ff 1f ff ff 00', read, { ...reads, lba: LBA_10 }),
  row('WRITE(10)', '2a 18 ff ff ff ff 1f ff ff 00', write, { ...writes, lba: LBA_10 }),
  row('WRITE AND VERIFY(10)', '2e 16 ff ff ff ff 1f ff ff 00', writeAndVerify, {
    ...writes,
    lba: LBA_10,
  }),
  row('VERIFY(10)', '2f 16 ff ff ff ff 1f ff ff 00', verify, { ...verifies, lba: LBA_10 }),
  row('PRE-FETCH(10)', '34 02 ff ff ff ff 1f ff ff 00', preFetch, { ...spans, lba: SPAN_10 }),
  row('SYNCHRONIZE CACHE(10)', '35 06 ff ff ff ff 1f ff ff 00', synchronizeCache, {
    ...flushes,
    lba: SPAN_10,
  }),
  row('READ DEFECT DATA(10)', '37 00 1f 00 00 00 00 ff ff 00', readDefectData10, {
    ...asks10,
    ...peeks,
    scope: 'disk',
  }),
  row('WRITE SAME(10)', '41 08 ff ff ff ff 1f ff ff 00', writeSame, { ...writes, lba: SPAN_10 }),
  row('UNMAP', '42 00 00 00 00 00 1f ff ff 00', unmap, { ...writes, scope: 'thin' }),
  row('SANITIZE OVERWRITE', `48 a1 ${SANITIZE}`, sanitizeOverwrite, {
    ...sanitizes,
    direction: 'out',
    action: 0x01,
  }),
  row('SANITIZE BLOCK ERASE', `48 a2 ${SANITIZE}`, sanitizeBlockErase, {
    ...sanitizes,
    action: 0x02,
    scope: 'thin',
  }),
  row('SANITIZE CRYPTOGRAPHIC ERASE', `48 a3 ${SANITIZE}`, sanitizeCryptoErase, {
    ...sanitizes,
    action: 0x03,
    scope: 'encrypted',
  }),
  row('SANITIZE EXIT FAILURE MODE', `48 bf ${SANITIZE}`, sanitizeExitFailureMode, {
    ...sanitizes,
    action: 0x1f,
  }),
  row('READ(16)', `88 18 ${WIDE}`, read, { ...reads, lba: LBA_16 }),
  row('COMPARE AND WRITE', '89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 1f 00', compareAndWrite, {
    ...writes,
    lba: LBA_COMPARE,
  }),
  row('WRITE(16)', `8a 18 ${WIDE}`, write, { ...writes, lba: LBA_16 }),
  row('ORWRITE(16)', `8b 18 ${WIDE}`, orWrite, { ...writes, lba: LBA_16 }),
  row('WRITE AND VERIFY(16)', `8e 16 ${WIDE}`, writeAndVerify, { ...writes, lba: LBA_16 }),
  row('VERIFY(16)', `8f 16 ${WIDE}`, verify, { ...verifies, lba: LBA_16 }),
  row('PRE-FETCH(16)', `90 02 ${WIDE}`, preFetch, { ...spans, lba: SPAN_16 }),
  row('SYNCHRONIZE CACHE(16)', `91 06 ${WIDE}`, synchronizeCache, { ...flushes, lba: SPAN_16 }),
  row('WRITE SAME(16)', `93 09 ${WIDE}`, writeSame, { ...writes, lba: SPAN_16 }),
  row('WRITE ATOMIC(16)', '9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00', writeAtomic, {
    ...writes,
    lba: LBA_ATOMIC,
    scope: 'atomic',
  }),
  row('READ CAPACITY(16)', '9e 10 00 00 00 00 00 00 00 00 ff ff ff ff 00 00', readCapacity16, {
    ...asks16,
    action: 0x10,
    needs: 'medium',
    scope: 'disk',
  }),
  row('GET LBA STATUS', '9e 12 ff ff ff ff ff ff ff ff ff ff ff ff 00 00', getLbaStatus, {
    ...asks16,
    ...peeks,
    action: 0x12,
    needs: 'medium',
    lba: LBA_ONLY,
    scope: 'disk',
  }),
  row('READ(12)', 'a8 18 ff ff ff ff ff ff ff ff 1f 00', read, { ...reads, lba: LBA_12 }),
  row('WRITE(12)', 'aa 18 ff ff ff ff ff ff ff ff 1f 00', write, { ...writes, lba: LBA_12 }),
  row('WRITE AND VERIFY(12)', 'ae 16 ff ff ff ff ff ff ff ff 1f 00', writeAndVerify, {
    ...writes,
    lba: LBA_12,
  }),
  row('VERIFY(12)', 'af 16 ff ff ff ff ff ff ff ff 1f 00', verify, { ...verifies, lba: LBA_12 }),
  row('READ DEFECT DATA(12)', 'b7 1f 00 00 00 00 ff ff ff ff 00 00', readDefectData12, {
    ...asks12,
    ...peeks,
    scope: 'disk',
  }),

  row('READ TOC/PMA/ATIP', '43 02 0f 00 00 00 ff ff ff c0', readToc, { ...disc, needs: 'medium' }),
  row('GET CONFIGURATION', '46 03 ff ff 00 00 00 ff ff 00', getConfiguration, disc),
  row('GET EVENT STATUS NOTIFICATION', '4a 01 00 00 ff 00 00 ff ff 00', getEventStatus, disc),
  row('READ DISC INFORMATION', '51 00 00 00 00 00 00 ff ff 00', readDiscInformation, {
    ...disc,
    needs: 'medium',
  }),
  row('READ TRACK INFORMATION', '52 03 ff ff ff ff 00 ff ff 00', readTrackInformation, {
    ...disc,
    needs: 'medium',
  }),
  row('READ DVD STRUCTURE', 'ad 0f 00 00 00 00 ff ff ff ff 00 00', readDvdStructure, {
    ...asks(8, 2),
    needs: 'medium',
    scope: 'cdrom',
  }),
  row('MECHANISM STATUS', 'bd 00 00 00 00 00 00 00 ff ff 00 00', mechanismStatus, {
    ...asks(8, 2),
    scope: 'cdrom',
  }),
  row('READ CD', 'be 1c ff ff ff ff ff ff ff fe 00 00', readCd, {
    ...reads,
    lba: LBA_CD,
    scope: 'cdrom',
  }),
];

/** The rows that a unit has. */
export function commandsOf(unit: LogicalUnit): CommandTable {
  const has: Readonly<Record<Scope, boolean>> = {
    all: true,
    disk: unit.kind === 'disk',
    cdrom: unit.kind === 'cdrom',
    removable: unit.removable,
    thin: unit.thin,
    encrypted: unit.encrypted,
    atomic: unit.kind === 'disk' && unit.atomicBlocksMax > 0,
    saved: unit.modes.saves,
    unsaved: !unit.modes.saves,
  };
  return new CommandTable(COMMANDS.filter((r) => has[r.scope]));
}
