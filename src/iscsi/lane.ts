import { InternalError } from '#base/mod.ts';
import type { ScsiTarget } from '#scsi/mod.ts';
import type { ChunkPool, DataPlane } from './data-plane.ts';
import type { ServerCounter } from './events.ts';
import type { Output } from './output.ts';
import type { PduSink } from './receiver.ts';
import type { Pace } from './pace.ts';
import type { Session } from './session.ts';
import type { Task } from './task.ts';
import type { WriteBatch } from './write-batch.ts';

/** What the parts of a connection in full feature phase share. */
export interface Lane {
  readonly session: Session;
  readonly scsi: ScsiTarget;
  readonly output: Output;
  readonly chunks: ChunkPool;
  /** Writes on their way from the receive buffer; null where there is none to share. */
  readonly writes: WriteBatch | null;
  readonly pace: Pace;
  /** The task has something to send: now if there is room, else in a later turn. */
  answer(task: Task): void;
  /** The last PDU of the task is about to be written: its room in the window is free. */
  settle(task: Task): void;
  /** The last PDU of the task is written. */
  release(task: Task): void;
  /** Asks for a turn, for what was written outside of one. */
  wake(): void;
  /** Less write data is held in memory than before. */
  relieved(): void;
}

/** What a connection does for its full feature phase. */
export interface FeatureOwner {
  readonly plane: DataPlane;
  /** PDUs other than commands and their data: NOP, Text, Task Management, Logout, SNACK. */
  other: PduSink;
  /** First command of its kind: for reports. */
  firstRead(): void;
  firstWrite(): void;
  count(counter: ServerCounter): void;
  /** After a turn: pauses or resumes the receiver. */
  balance(): void;
  /** The peer broke the protocol beyond repair. */
  protocolError(reason: string): void;
}

/** A device operation of the task came back. True when the task was aborted meanwhile. */
export function operationEnded(task: Task): boolean {
  task.operations -= 1;
  if (task.operations < 0) throw new InternalError('an operation was answered twice');
  const waiting = task.quiesced;
  if (waiting === null) return false;
  if (task.operations === 0) for (const quiet of waiting) quiet();
  return true;
}

/** Calls `done` when what `start` began for every item (and tells by its callback) is over. */
export function afterAll<T>(
  items: readonly T[],
  start: (item: T, done: () => void) => void,
  done: () => void,
): void {
  let left = items.length + 1;
  const one = (): void => {
    left -= 1;
    if (left === 0) done();
  };
  for (const item of items) start(item, one);
  one();
}
