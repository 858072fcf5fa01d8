import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_BUFFER_OFFSET, AT_DATA_SN, AT_FLAGS, AT_ITT, AT_RESIDUAL } from './offsets.ts';
import { AT_STATUS, AT_TTT, DataInFlag, FINAL_BIT, Opcode } from './offsets.ts';
import { residualFlags, residualOf } from './scsi-response.ts';
import type { Residual } from './scsi-response.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** SCSI Data-In (RFC 7143 §11.7): read data; the last one may carry the status. */
export type DataIn = TargetSequence & {
  readonly final: boolean;
  readonly acknowledge: boolean;
  /** The S bit: `status`, `statSn` and the residual are valid. */
  readonly hasStatus: boolean;
  readonly status: number;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly dataSn: number;
  readonly bufferOffsetBytes: number;
  readonly residual: Residual;
  readonly residualBytes: number;
  readonly data: Uint8Array;
};

/** Builds a Data-In. */
export function encodeDataIn(p: DataIn): Pdu {
  const { pdu, view } = blankPdu(Opcode.DATA_IN, p.data);
  const flags =
    (p.final ? FINAL_BIT : 0) |
    (p.acknowledge ? DataInFlag.ACKNOWLEDGE : 0) |
    (p.hasStatus ? DataInFlag.STATUS : 0) |
    residualFlags(p.residual);
  view.setUint8(AT_FLAGS, flags);
  view.setUint8(AT_STATUS, p.status);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  writeSequence(view, p);
  view.setUint32(AT_DATA_SN, p.dataSn);
  view.setUint32(AT_BUFFER_OFFSET, p.bufferOffsetBytes);
  view.setUint32(AT_RESIDUAL, p.residualBytes);
  return pdu;
}

/** Reads a Data-In; throws `DecodeError`. */
export function decodeDataIn(pdu: Pdu): DataIn {
  const view = headerOf(pdu, Opcode.DATA_IN);
  const flags = view.getUint8(AT_FLAGS);
  return {
    final: (flags & FINAL_BIT) !== 0,
    acknowledge: (flags & DataInFlag.ACKNOWLEDGE) !== 0,
    hasStatus: (flags & DataInFlag.STATUS) !== 0,
    status: view.getUint8(AT_STATUS),
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    ...readSequence(view),
    dataSn: view.getUint32(AT_DATA_SN),
    bufferOffsetBytes: view.getUint32(AT_BUFFER_OFFSET),
    residual: residualOf(flags),
    residualBytes: view.getUint32(AT_RESIDUAL),
    data: pdu.data,
  };
}
