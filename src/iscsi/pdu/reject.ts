import { blankPdu, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_DATA_SN, AT_ITT, AT_RESPONSE, Opcode, RESERVED_TAG } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Reject reasons (RFC 7143 §11.17.1). */
export const RejectReason = {
  DATA_DIGEST_ERROR: 0x02,
  SNACK_REJECT: 0x03,
  PROTOCOL_ERROR: 0x04,
  COMMAND_NOT_SUPPORTED: 0x05,
  TOO_MANY_IMMEDIATE_COMMANDS: 0x06,
  TASK_IN_PROGRESS: 0x07,
  INVALID_DATA_ACK: 0x08,
  INVALID_PDU_FIELD: 0x09,
  OUT_OF_RESOURCES: 0x0a,
  NEGOTIATION_RESET: 0x0b,
  WAITING_FOR_LOGOUT: 0x0c,
} as const;
export type RejectReason = (typeof RejectReason)[keyof typeof RejectReason];

/** Reject (RFC 7143 §11.17); `data` is the header of the PDU that was refused. */
export type Reject = TargetSequence & {
  readonly reason: number;
  readonly dataSn: number;
  readonly data: Uint8Array;
};

/** Builds a Reject. */
export function encodeReject(p: Reject): Pdu {
  const { pdu, view } = blankPdu(Opcode.REJECT, p.data);
  view.setUint8(AT_RESPONSE, p.reason);
  view.setUint32(AT_ITT, RESERVED_TAG);
  writeSequence(view, p);
  view.setUint32(AT_DATA_SN, p.dataSn);
  return pdu;
}

/** Reads a Reject; throws `DecodeError`. */
export function decodeReject(pdu: Pdu): Reject {
  const view = headerOf(pdu, Opcode.REJECT);
  return {
    reason: view.getUint8(AT_RESPONSE),
    ...readSequence(view),
    dataSn: view.getUint32(AT_DATA_SN),
    data: pdu.data,
  };
}
