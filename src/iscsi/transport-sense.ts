import { Phase } from '#scsi/mod.ts';
import type { Task } from './task.ts';

const CHECK_CONDITION = 0x02;
const ABORTED_COMMAND = 0x0b;
const SENSE_BYTES = 18;

/** SCSI conditions that iSCSI itself raises (RFC 7143 §11.4.7.2), all with ABORTED COMMAND. */
export const TransportFault = {
  UNEXPECTED_UNSOLICITED_DATA: 0x0c0c,
  /** SPC-4's "invalid field in command information unit": the R and W bits belie the CDB. */
  INVALID_COMMAND_INFORMATION: 0x0e03,
  INCORRECT_AMOUNT_OF_DATA: 0x0c0d,
  PROTOCOL_SERVICE_CRC_ERROR: 0x4705,
  DATA_PHASE_ERROR: 0x4b00,
} as const;
export type TransportFault = (typeof TransportFault)[keyof typeof TransportFault];

/** Ends a task with CHECK CONDITION for a fault of the transport; phase becomes DONE. */
export function failTransport(task: Task, fault: TransportFault): void {
  const sense = new Uint8Array(SENSE_BYTES);
  sense[0] = 0x70; // current, fixed format
  sense[2] = ABORTED_COMMAND;
  sense[7] = SENSE_BYTES - 8;
  sense[12] = fault >>> 8;
  sense[13] = fault & 0xff;
  endTask(task, CHECK_CONDITION, sense);
}

/** Ends a task with a bare status (BUSY, TASK SET FULL). */
export function endTask(task: Task, status: number, sense: Uint8Array | null = null): void {
  task.phase = Phase.DONE;
  task.status = status;
  task.sense = sense;
  task.dataIn = null;
  task.sendBytes = 0;
  task.commandBytes = 0;
}

/**
 * The header of a command that writes says that it reads: GOOD would be a lie, nothing was written.
 * The reverse is answered by the residual count alone, as libiscsi wants it (Read10Invalid).
 */
export function misdirected(task: Task): boolean {
  const receives = task.phase === Phase.WRITE || task.phase === Phase.GATHER;
  return receives && task.expectedOutBytes === 0 && task.expectedInBytes > 0;
}
