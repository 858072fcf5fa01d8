import { DecodeError } from '#base/mod.ts';
import { NO_BYTES, blankPdu, copyBytes, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_DATA_SN, AT_FLAGS, AT_ITT, AT_RESIDUAL, AT_RESPONSE, AT_STATUS } from './offsets.ts';
import { FINAL_BIT, Opcode, ResidualFlag } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** The iSCSI service response of a SCSI command (RFC 7143 §11.4.3). */
export const ServiceResponse = { COMMAND_COMPLETED: 0, TARGET_FAILURE: 1 } as const;

/** How what was expected and what was moved differ (RFC 7143 §11.4.5). */
export type Residual = 'none' | 'overflow' | 'underflow';

/** SCSI Response (RFC 7143 §11.4). */
export type ScsiResponsePdu = TargetSequence & {
  readonly response: number;
  readonly status: number;
  readonly initiatorTaskTag: number;
  readonly expDataSn: number;
  readonly residual: Residual;
  readonly residualBytes: number;
  /** Sense data without its length prefix. */
  readonly sense: Uint8Array;
};

/** Builds a SCSI Response. */
export function encodeScsiResponse(p: ScsiResponsePdu): Pdu {
  const data = new Uint8Array(p.sense.length === 0 ? 0 : p.sense.length + 2);
  if (data.length > 0) {
    new DataView(data.buffer).setUint16(0, p.sense.length);
    data.set(p.sense, 2);
  }
  const { pdu, view } = blankPdu(Opcode.SCSI_RESPONSE, data);
  view.setUint8(AT_FLAGS, FINAL_BIT | residualFlags(p.residual));
  view.setUint8(AT_RESPONSE, p.response);
  view.setUint8(AT_STATUS, p.status);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  writeSequence(view, p);
  view.setUint32(AT_DATA_SN, p.expDataSn);
  view.setUint32(AT_RESIDUAL, p.residualBytes);
  return pdu;
}

/** Reads a SCSI Response; throws `DecodeError`. */
export function decodeScsiResponse(pdu: Pdu): ScsiResponsePdu {
  const view = headerOf(pdu, Opcode.SCSI_RESPONSE);
  return {
    response: view.getUint8(AT_RESPONSE),
    status: view.getUint8(AT_STATUS),
    initiatorTaskTag: view.getUint32(AT_ITT),
    ...readSequence(view),
    expDataSn: view.getUint32(AT_DATA_SN),
    residual: residualOf(view.getUint8(AT_FLAGS)),
    residualBytes: view.getUint32(AT_RESIDUAL),
    sense: senseOf(pdu.data),
  };
}

/** The O and U bits. */
export function residualFlags(residual: Residual): number {
  if (residual === 'overflow') return ResidualFlag.OVERFLOW;
  return residual === 'underflow' ? ResidualFlag.UNDERFLOW : 0;
}

/** What the O and U bits say. */
export function residualOf(flags: number): Residual {
  if ((flags & ResidualFlag.OVERFLOW) !== 0) return 'overflow';
  return (flags & ResidualFlag.UNDERFLOW) !== 0 ? 'underflow' : 'none';
}

function senseOf(data: Uint8Array): Uint8Array {
  if (data.length === 0) return NO_BYTES;
  const length = data.length < 2 ? 0xffff : (data[0]! << 8) | data[1]!;
  if (length + 2 > data.length) throw new DecodeError('sense', 'sense length is wrong', 48);
  return copyBytes(data, 2, 2 + length);
}
