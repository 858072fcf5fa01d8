import { blankPdu, headerOf, isImmediate, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CMD_SN, AT_DATA_SN, AT_EXP_STAT_SN, AT_FLAGS, AT_ITT, FINAL_BIT } from './offsets.ts';
import { Opcode } from './offsets.ts';

const AT_REFERENCED_TAG = 20;
const AT_REF_CMD_SN = 32;

/** Task management functions (RFC 7143 §11.5.1). */
export const TaskFunction = {
  ABORT_TASK: 1,
  ABORT_TASK_SET: 2,
  CLEAR_ACA: 3,
  CLEAR_TASK_SET: 4,
  LOGICAL_UNIT_RESET: 5,
  TARGET_WARM_RESET: 6,
  TARGET_COLD_RESET: 7,
  TASK_REASSIGN: 8,
} as const;

/** Task Management Function Request (RFC 7143 §11.5). */
export type TaskManagementRequest = {
  readonly immediate: boolean;
  readonly function: number;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly referencedTaskTag: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
  readonly refCmdSn: number;
  readonly expDataSn: number;
};

/** Builds a Task Management Function Request. */
export function encodeTaskManagementRequest(p: TaskManagementRequest): Pdu {
  const { pdu, view } = blankPdu(Opcode.TASK_MANAGEMENT_REQUEST, undefined, {
    immediate: p.immediate,
  });
  view.setUint8(AT_FLAGS, FINAL_BIT | p.function);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_REFERENCED_TAG, p.referencedTaskTag);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  view.setUint32(AT_REF_CMD_SN, p.refCmdSn);
  view.setUint32(AT_DATA_SN, p.expDataSn);
  return pdu;
}

/** Reads a Task Management Function Request; throws `DecodeError`. */
export function decodeTaskManagementRequest(pdu: Pdu): TaskManagementRequest {
  const view = headerOf(pdu, Opcode.TASK_MANAGEMENT_REQUEST);
  return {
    immediate: isImmediate(pdu),
    function: view.getUint8(AT_FLAGS) & 0x7f,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    referencedTaskTag: view.getUint32(AT_REFERENCED_TAG),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    refCmdSn: view.getUint32(AT_REF_CMD_SN),
    expDataSn: view.getUint32(AT_DATA_SN),
  };
}
