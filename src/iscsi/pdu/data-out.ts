import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_BUFFER_OFFSET, AT_DATA_SN, AT_EXP_STAT_SN, AT_FLAGS, AT_ITT } from './offsets.ts';
import { AT_TTT, FINAL_BIT, Opcode } from './offsets.ts';

/**
 * SCSI Data-Out (RFC 7143 §11.7): write data, unsolicited (TTT reserved) or asked for by an R2T.
 */
export type DataOut = {
  readonly final: boolean;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly expStatSn: number;
  readonly dataSn: number;
  readonly bufferOffsetBytes: number;
  readonly data: Uint8Array;
};

/** Builds a Data-Out. */
export function encodeDataOut(p: DataOut): Pdu {
  const { pdu, view } = blankPdu(Opcode.DATA_OUT, p.data);
  view.setUint8(AT_FLAGS, p.final ? FINAL_BIT : 0);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  view.setUint32(AT_DATA_SN, p.dataSn);
  view.setUint32(AT_BUFFER_OFFSET, p.bufferOffsetBytes);
  return pdu;
}

/** Reads a Data-Out; throws `DecodeError`. */
export function decodeDataOut(pdu: Pdu): DataOut {
  const view = headerOf(pdu, Opcode.DATA_OUT);
  return {
    final: (view.getUint8(AT_FLAGS) & FINAL_BIT) !== 0,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    dataSn: view.getUint32(AT_DATA_SN),
    bufferOffsetBytes: view.getUint32(AT_BUFFER_OFFSET),
    data: pdu.data,
  };
}
