import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_FLAGS, AT_ITT, AT_TTT, CONTINUE_BIT, FINAL_BIT, Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Text Response (RFC 7143 §11.11). */
export type TextResponse = TargetSequence & {
  readonly final: boolean;
  readonly more: boolean;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly data: Uint8Array;
};

/** Builds a Text Response. */
export function encodeTextResponse(p: TextResponse): Pdu {
  const { pdu, view } = blankPdu(Opcode.TEXT_RESPONSE, p.data);
  view.setUint8(AT_FLAGS, (p.final ? FINAL_BIT : 0) | (p.more ? CONTINUE_BIT : 0));
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  writeSequence(view, p);
  return pdu;
}

/** Reads a Text Response; throws `DecodeError`. */
export function decodeTextResponse(pdu: Pdu): TextResponse {
  const view = headerOf(pdu, Opcode.TEXT_RESPONSE);
  const flags = view.getUint8(AT_FLAGS);
  return {
    final: (flags & FINAL_BIT) !== 0,
    more: (flags & CONTINUE_BIT) !== 0,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    ...readSequence(view),
    data: pdu.data,
  };
}
