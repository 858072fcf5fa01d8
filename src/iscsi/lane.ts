import { InternalError } from '#base/mod.ts';
import type { ScsiTarget } from '#scsi/mod.ts';
import type { ChunkPool } from './data-plane.ts';
import type { Output } from './output.ts';
import type { Session } from './session.ts';
import type { Task } from './task.ts';

/** What the parts of a connection in full feature phase share. */
export interface Lane {
  readonly session: Session;
  readonly scsi: ScsiTarget;
  readonly output: Output;
  readonly chunks: ChunkPool;
  /** The task has something to send: now if there is room, else in a later turn. */
  answer(task: Task): void;
  /** The last PDU of the task is about to be written: its room in the window is free. */
  settle(task: Task): void;
  /** The last PDU of the task is written. */
  release(task: Task): void;
  /** Writes are held in memory until their device answers: `bytes` more, or fewer. */
  coldWrite(bytes: number): void;
}

/** A device operation of the task came back. True when the task was aborted meanwhile. */
export function operationEnded(task: Task): boolean {
  task.operations -= 1;
  if (task.operations < 0) throw new InternalError('an operation was answered twice');
  if (task.quiesced === null) return false;
  if (task.operations === 0) task.quiesced();
  return true;
}
