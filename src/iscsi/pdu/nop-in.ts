import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_ITT, AT_TTT, Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** NOP-In (RFC 7143 §11.19): the answer to a ping, or a ping of ours (TTT set). */
export type NopIn = TargetSequence & {
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly data: Uint8Array;
};

/** Builds a NOP-In. */
export function encodeNopIn(p: NopIn): Pdu {
  const { pdu, view } = blankPdu(Opcode.NOP_IN, p.data);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  writeSequence(view, p);
  return pdu;
}

/** Reads a NOP-In; throws `DecodeError`. */
export function decodeNopIn(pdu: Pdu): NopIn {
  const view = headerOf(pdu, Opcode.NOP_IN);
  return {
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    ...readSequence(view),
    data: pdu.data,
  };
}
