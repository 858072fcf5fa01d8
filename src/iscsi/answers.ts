import { crc32c } from '#base/mod.ts';
import type { Output } from './output.ts';
import { AT_BUFFER_OFFSET, AT_DATA_SN, AT_DESIRED_LENGTH, AT_EXP_CMD_SN } from './pdu/mod.ts';
import { AT_ITT, AT_LENGTHS, AT_LUN, AT_MAX_CMD_SN, AT_RESIDUAL } from './pdu/mod.ts';
import { AT_STAT_SN, AT_TTT, BHS_BYTES, DIGEST_BYTES, FINAL_BIT, Opcode } from './pdu/mod.ts';
import { RESERVED_TAG, ResidualFlag, ServiceResponse, framePdu, paddingBytes } from './pdu/mod.ts';
import type { Pdu } from './pdu/mod.ts';
import type { Session } from './session.ts';
import type { Task } from './task.ts';

/**
 * The PDUs of the hot path, written in place by offset: nothing is allocated. Their readable twins,
 * which the tests hold against these, are in pdu/.
 */

/** O or U bit in the low half, and the residual count; from what the CDB and the header expect. */
export function residualFlag(task: Task): number {
  const expected = task.expectedInBytes + task.expectedOutBytes;
  if (task.commandBytes > expected) return ResidualFlag.OVERFLOW;
  return task.commandBytes < expected ? ResidualFlag.UNDERFLOW : 0;
}

/** The residual count that goes with `residualFlag`. */
function residualBytes(task: Task): number {
  return Math.abs(task.commandBytes - (task.expectedInBytes + task.expectedOutBytes));
}

/** Writes the header digest behind a header, if there is one. */
export function sealHeader(session: Session, bytes: Uint8Array, view: DataView, at: number): void {
  if (session.headerDigest) view.setUint32(at + BHS_BYTES, crc32c(bytes, at, BHS_BYTES), true);
}

/** Writes padding and data digest behind data; returns their length. */
export function sealData(
  session: Session,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  lengthBytes: number,
): number {
  const padding = paddingBytes(lengthBytes);
  for (let i = 0; i < padding; i++) bytes[at + lengthBytes + i] = 0;
  if (!session.dataDigest || lengthBytes === 0) return padding;
  const covered = lengthBytes + padding;
  view.setUint32(at + covered, crc32c(bytes, at, covered), true);
  return padding + DIGEST_BYTES;
}

/**
 * Writes the 48 bytes of a Data-In (RFC 7143 §11.7) at `at`. With `status` (the S bit) it is the
 * task's last PDU: it takes a StatSN and carries the residual.
 */
export function writeDataIn(
  session: Session,
  task: Task,
  view: DataView,
  at: number,
  lengthBytes: number,
  flags: number,
  status: boolean,
): void {
  view.setUint32(at, (Opcode.DATA_IN << 24) | (flags << 16) | (status ? task.status : 0));
  view.setUint32(at + AT_LENGTHS, lengthBytes);
  view.setUint32(at + AT_LUN, 0);
  view.setUint32(at + AT_LUN + 4, 0);
  view.setUint32(at + AT_ITT, task.tag);
  view.setUint32(at + AT_TTT, RESERVED_TAG);
  view.setUint32(at + AT_STAT_SN, status ? session.takeStatSn() : 0);
  view.setUint32(at + AT_EXP_CMD_SN, session.expCmdSn);
  view.setUint32(at + AT_MAX_CMD_SN, session.maxCmdSn);
  view.setUint32(at + AT_DATA_SN, task.dataSn);
  view.setUint32(at + AT_BUFFER_OFFSET, task.sentBytes);
  view.setUint32(at + AT_RESIDUAL, status ? residualBytes(task) : 0);
}

/**
 * Writes a whole SCSI Response (RFC 7143 §11.4) with the task's status and sense. Where the target
 * failed there is no residual (§11.4.1).
 */
export function writeScsiResponse(
  session: Session,
  output: Output,
  task: Task,
  serviceResponse: number,
): void {
  const sense = task.sense;
  const length = sense === null ? 0 : sense.length + 2;
  const at = output.reserve(session.overheadBytes + length + 3);
  const view = output.view;
  const completed = serviceResponse === ServiceResponse.COMMAND_COMPLETED;
  const flags = FINAL_BIT | (completed ? residualFlag(task) : 0);
  view.setUint32(
    at,
    (Opcode.SCSI_RESPONSE << 24) | (flags << 16) | (serviceResponse << 8) | task.status,
  );
  view.setUint32(at + AT_LENGTHS, length);
  view.setUint32(at + AT_LUN, 0);
  view.setUint32(at + AT_LUN + 4, 0);
  view.setUint32(at + AT_ITT, task.tag);
  view.setUint32(at + AT_TTT, 0);
  view.setUint32(at + AT_STAT_SN, session.takeStatSn());
  view.setUint32(at + AT_EXP_CMD_SN, session.expCmdSn);
  view.setUint32(at + AT_MAX_CMD_SN, session.maxCmdSn);
  view.setUint32(at + AT_DATA_SN, task.dataSn);
  view.setUint32(at + AT_BUFFER_OFFSET, 0);
  view.setUint32(at + AT_RESIDUAL, completed ? residualBytes(task) : 0);
  sealHeader(session, output.bytes, view, at);
  const dataAt = at + session.headBytes;
  if (sense !== null) {
    view.setUint16(dataAt, sense.length);
    output.bytes.set(sense, dataAt + 2);
  }
  const sealed = sealData(session, output.bytes, view, dataAt, length);
  output.commit(session.headBytes + length + sealed);
}

/** Writes an R2T (RFC 7143 §11.8); `tag` is the target transfer tag. */
export function writeR2t(
  session: Session,
  output: Output,
  task: Task,
  tag: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  const at = output.reserve(session.overheadBytes);
  const view = output.view;
  view.setUint32(at, (Opcode.R2T << 24) | (FINAL_BIT << 16));
  view.setUint32(at + AT_LENGTHS, 0);
  view.setUint32(at + AT_LUN, task.lunWord);
  view.setUint32(at + AT_LUN + 4, 0);
  view.setUint32(at + AT_ITT, task.tag);
  view.setUint32(at + AT_TTT, tag);
  view.setUint32(at + AT_STAT_SN, session.statSn);
  view.setUint32(at + AT_EXP_CMD_SN, session.expCmdSn);
  view.setUint32(at + AT_MAX_CMD_SN, session.maxCmdSn);
  view.setUint32(at + AT_DATA_SN, task.r2tsSent);
  view.setUint32(at + AT_BUFFER_OFFSET, offsetBytes);
  view.setUint32(at + AT_DESIRED_LENGTH, lengthBytes);
  sealHeader(session, output.bytes, view, at);
  output.commit(session.headBytes);
}

/** Writes a PDU that a codec made: the slow paths. */
export function writePdu(session: Session, output: Output, pdu: Pdu): void {
  writeFramed(output, framePdu(pdu, { header: session.headerDigest, data: session.dataDigest }));
}

/** Puts the bytes of a PDU into the output; `flush` sends them. */
export function writeFramed(output: Output, framed: Uint8Array): void {
  const at = output.reserve(framed.length);
  output.bytes.set(framed, at);
  output.commit(framed.length);
}

/** Sequence numbers for a PDU that takes a StatSN (`consume`) or only shows the next one. */
export function sequenceOf(
  session: Session,
  consume: boolean,
): { statSn: number; expCmdSn: number; maxCmdSn: number } {
  const statSn = consume ? session.takeStatSn() : session.statSn;
  return { statSn, expCmdSn: session.expCmdSn, maxCmdSn: session.maxCmdSn };
}
