import { DecodeError } from '#base/mod.ts';
import { IMMEDIATE_COMMANDS_MAX } from './limits.ts';
import { AT_CDB, AT_EXPECTED_LENGTH, AT_LUN, BHS_BYTES, CommandFlag } from './pdu/mod.ts';
import { RESERVED_TAG, decodeAhs, lunNumber } from './pdu/mod.ts';
import { RejectReason } from './pdu/mod.ts';
import type { Session } from './session.ts';
import type { Task } from './task.ts';

const HEADER_CDB_BYTES = 16;

/** Takes CDB, LUN, attribute and lengths from a SCSI Command header (RFC 7143 §11.3). */
export function fillTask(
  task: Task,
  view: DataView,
  bytes: Uint8Array,
  at: number,
  flags: number,
): void {
  const cdb = task.cdb;
  for (let i = 0; i < HEADER_CDB_BYTES; i++) cdb[i] = bytes[at + AT_CDB + i]!;
  task.cdbBytes = HEADER_CDB_BYTES;
  const lunWord = view.getUint32(at + AT_LUN);
  task.lunWord = lunWord;
  task.lun = lunNumber(lunWord, view.getUint32(at + AT_LUN + 4));
  task.attribute = flags & CommandFlag.ATTRIBUTE_MASK;
  const expected = view.getUint32(at + AT_EXPECTED_LENGTH);
  if ((flags & CommandFlag.WRITE) !== 0) task.expectedOutBytes = expected;
  if ((flags & CommandFlag.READ) !== 0) task.expectedInBytes = expected;
}

/** Why a command cannot be taken, as a reason of Reject (RFC 7143 §11.17.1); null: it can. */
export function refusalOf(session: Session, tag: number, immediate: boolean): RejectReason | null {
  if (tag === RESERVED_TAG) return RejectReason.INVALID_PDU_FIELD;
  if (session.tasks.find(tag) !== undefined) return RejectReason.TASK_IN_PROGRESS;
  const crowded = immediate && session.immediateInFlight >= IMMEDIATE_COMMANDS_MAX;
  return crowded ? RejectReason.TOO_MANY_IMMEDIATE_COMMANDS : null;
}

/** Takes the rest of a long CDB from the additional headers. False: they are malformed. */
export function fillAdditional(
  task: Task,
  bytes: Uint8Array,
  at: number,
  ahsBytes: number,
): boolean {
  const ahsAt = at + BHS_BYTES;
  try {
    const { extendedCdb } = decodeAhs(bytes.subarray(ahsAt, ahsAt + ahsBytes));
    const room = task.cdb.length - HEADER_CDB_BYTES;
    task.cdb.set(extendedCdb.subarray(0, room), HEADER_CDB_BYTES);
    task.cdbBytes = HEADER_CDB_BYTES + Math.min(extendedCdb.length, room);
    return true;
  } catch (e) {
    if (e instanceof DecodeError) return false;
    throw e;
  }
}
