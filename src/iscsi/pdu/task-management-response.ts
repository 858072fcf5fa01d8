import { blankPdu, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_ITT, AT_RESPONSE, Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Task management responses (RFC 7143 §11.6.1). */
export const TaskResponse = {
  FUNCTION_COMPLETE: 0,
  TASK_DOES_NOT_EXIST: 1,
  LUN_DOES_NOT_EXIST: 2,
  TASK_STILL_ALLEGIANT: 3,
  REASSIGNMENT_NOT_SUPPORTED: 4,
  FUNCTION_NOT_SUPPORTED: 5,
  AUTHORIZATION_FAILED: 6,
  FUNCTION_REJECTED: 255,
} as const;
export type TaskResponse = (typeof TaskResponse)[keyof typeof TaskResponse];

/** Task Management Function Response (RFC 7143 §11.6). */
export type TaskManagementResponse = TargetSequence & {
  readonly response: number;
  readonly initiatorTaskTag: number;
};

/** Builds a Task Management Function Response. */
export function encodeTaskManagementResponse(p: TaskManagementResponse): Pdu {
  const { pdu, view } = blankPdu(Opcode.TASK_MANAGEMENT_RESPONSE);
  view.setUint8(AT_RESPONSE, p.response);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  writeSequence(view, p);
  return pdu;
}

/** Reads a Task Management Function Response; throws `DecodeError`. */
export function decodeTaskManagementResponse(pdu: Pdu): TaskManagementResponse {
  const view = headerOf(pdu, Opcode.TASK_MANAGEMENT_RESPONSE);
  return {
    response: view.getUint8(AT_RESPONSE),
    initiatorTaskTag: view.getUint32(AT_ITT),
    ...readSequence(view),
  };
}
