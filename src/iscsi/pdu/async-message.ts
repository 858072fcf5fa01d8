import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_ITT, Opcode, RESERVED_TAG } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Asynchronous events (RFC 7143 §11.9.1). */
export const AsyncEvent = {
  SCSI: 0,
  LOGOUT_REQUEST: 1,
  CONNECTION_DROP: 2,
  SESSION_DROP: 3,
  NEGOTIATION_REQUEST: 4,
} as const;

const AT_EVENT = 36;
const AT_VENDOR_CODE = 37;
const AT_PARAMETER_1 = 38;
const AT_PARAMETER_2 = 40;
const AT_PARAMETER_3 = 42;

/** Asynchronous Message (RFC 7143 §11.9). */
export type AsyncMessage = TargetSequence & {
  readonly lun: number;
  readonly event: number;
  readonly vendorCode: number;
  readonly parameter1: number;
  readonly parameter2: number;
  readonly parameter3: number;
  readonly data: Uint8Array;
};

/** Builds an Asynchronous Message. */
export function encodeAsyncMessage(p: AsyncMessage): Pdu {
  const { pdu, view } = blankPdu(Opcode.ASYNC_MESSAGE, p.data);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, RESERVED_TAG);
  writeSequence(view, p);
  view.setUint8(AT_EVENT, p.event);
  view.setUint8(AT_VENDOR_CODE, p.vendorCode);
  view.setUint16(AT_PARAMETER_1, p.parameter1);
  view.setUint16(AT_PARAMETER_2, p.parameter2);
  view.setUint16(AT_PARAMETER_3, p.parameter3);
  return pdu;
}

/** Reads an Asynchronous Message; throws `DecodeError`. */
export function decodeAsyncMessage(pdu: Pdu): AsyncMessage {
  const view = headerOf(pdu, Opcode.ASYNC_MESSAGE);
  return {
    lun: readLun(view),
    ...readSequence(view),
    event: view.getUint8(AT_EVENT),
    vendorCode: view.getUint8(AT_VENDOR_CODE),
    parameter1: view.getUint16(AT_PARAMETER_1),
    parameter2: view.getUint16(AT_PARAMETER_2),
    parameter3: view.getUint16(AT_PARAMETER_3),
    data: pdu.data,
  };
}
