import { Phase, ScsiError } from '#scsi/mod.ts';
import type { ScsiTarget, SenseCode } from '#scsi/mod.ts';
import type { Task } from './task.ts';

const ABORTED_COMMAND = 0x0b;

/** SCSI conditions that iSCSI itself raises (RFC 7143 §11.4.7.2), all with ABORTED COMMAND. */
export const TransportFault = {
  UNEXPECTED_UNSOLICITED_DATA: aborted(0x0c, 0x0c),
  /** SPC-4's "invalid field in command information unit": the R and W bits belie the CDB. */
  INVALID_COMMAND_INFORMATION: aborted(0x0e, 0x03),
  INCORRECT_AMOUNT_OF_DATA: aborted(0x0c, 0x0d),
  PROTOCOL_SERVICE_CRC_ERROR: aborted(0x47, 0x05),
  DATA_PHASE_ERROR: aborted(0x4b, 0x00),
} as const;
/** One of them. */
export type TransportFault = (typeof TransportFault)[keyof typeof TransportFault];

function aborted(asc: number, ascq: number): SenseCode {
  return { key: ABORTED_COMMAND, asc, ascq };
}

/**
 * Ends a task with CHECK CONDITION for a fault of the transport, in the format of sense data that
 * its unit was told to use; phase becomes DONE.
 */
export function failTransport(scsi: ScsiTarget, task: Task, fault: TransportFault): void {
  scsi.fail(task, ScsiError.check(fault));
  task.sendBytes = 0;
  task.commandBytes = 0;
}

/** Ends a task with a bare status (BUSY, TASK SET FULL). */
export function endTask(task: Task, status: number): void {
  task.phase = Phase.DONE;
  task.status = status;
  task.sense = null;
  task.dataIn = null;
  task.sendBytes = 0;
  task.commandBytes = 0;
}

/**
 * Fails a command that writes when its header says that it reads: GOOD would be a lie, nothing was
 * written. The reverse is answered by the residual count alone, as libiscsi wants it
 * (Read10Invalid).
 */
export function refuseMisdirected(scsi: ScsiTarget, task: Task): void {
  const receives = task.phase === Phase.WRITE || task.phase === Phase.GATHER;
  if (!receives || task.expectedOutBytes > 0 || task.expectedInBytes === 0) return;
  failTransport(scsi, task, TransportFault.INVALID_COMMAND_INFORMATION);
}
