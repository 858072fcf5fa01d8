import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_BUFFER_OFFSET, AT_DATA_SN, AT_DESIRED_LENGTH, AT_ITT, AT_TTT } from './offsets.ts';
import { Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Ready To Transfer (RFC 7143 §11.8): asks for a range of write data. */
export type R2t = TargetSequence & {
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly r2tSn: number;
  readonly bufferOffsetBytes: number;
  readonly desiredLengthBytes: number;
};

/** Builds an R2T. */
export function encodeR2t(p: R2t): Pdu {
  const { pdu, view } = blankPdu(Opcode.R2T);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  writeSequence(view, p);
  view.setUint32(AT_DATA_SN, p.r2tSn);
  view.setUint32(AT_BUFFER_OFFSET, p.bufferOffsetBytes);
  view.setUint32(AT_DESIRED_LENGTH, p.desiredLengthBytes);
  return pdu;
}

/** Reads an R2T; throws `DecodeError`. */
export function decodeR2t(pdu: Pdu): R2t {
  const view = headerOf(pdu, Opcode.R2T);
  return {
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    ...readSequence(view),
    r2tSn: view.getUint32(AT_DATA_SN),
    bufferOffsetBytes: view.getUint32(AT_BUFFER_OFFSET),
    desiredLengthBytes: view.getUint32(AT_DESIRED_LENGTH),
  };
}
