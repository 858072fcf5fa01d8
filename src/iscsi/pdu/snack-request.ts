import { blankPdu, headerOf, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_EXP_STAT_SN, AT_FLAGS, AT_ITT, AT_TTT, FINAL_BIT, Opcode } from './offsets.ts';

const AT_BEG_RUN = 40;
const AT_RUN_LENGTH = 44;

/** SNACK Request (RFC 7143 §11.16): error recovery level 1; we answer it with a Reject. */
export type SnackRequest = {
  readonly type: number;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly expStatSn: number;
  readonly begRun: number;
  readonly runLength: number;
};

/** Builds a SNACK Request. */
export function encodeSnackRequest(p: SnackRequest): Pdu {
  const { pdu, view } = blankPdu(Opcode.SNACK_REQUEST);
  view.setUint8(AT_FLAGS, FINAL_BIT | p.type);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  view.setUint32(AT_BEG_RUN, p.begRun);
  view.setUint32(AT_RUN_LENGTH, p.runLength);
  return pdu;
}

/** Reads a SNACK Request; throws `DecodeError`. */
export function decodeSnackRequest(pdu: Pdu): SnackRequest {
  const view = headerOf(pdu, Opcode.SNACK_REQUEST);
  return {
    type: view.getUint8(AT_FLAGS) & 0x0f,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    begRun: view.getUint32(AT_BEG_RUN),
    runLength: view.getUint32(AT_RUN_LENGTH),
  };
}
