import { ScsiCommand } from '#scsi/mod.ts';
import type { ColdRun } from './cold-run.ts';

/**
 * Where a task is. States only move forward, and back to FREE at the end:
 *
 *   FREE → HELD → RECEIVING → FINISHING → ANSWERING → FREE
 *
 * - HELD: waits for older tasks (ORDERED); its early data is kept (held-data.ts).
 * - RECEIVING: write data is on its way.
 * - FINISHING: the logical unit works on it, or its writes are not answered yet.
 * - ANSWERING: data-in and status, as far as the output has room.
 * - ABORTED: waits for device operations that were in flight; it is never answered.
 */
export const TaskState = {
  FREE: 0,
  HELD: 1,
  RECEIVING: 2,
  FINISHING: 3,
  ANSWERING: 4,
  ABORTED: 5,
} as const;
export type TaskState = (typeof TaskState)[keyof typeof TaskState];

/** Told when a task that was aborted is quiet: no operation of it can reach the device any more. */
export type Quiesced = () => void;

/** One SCSI command in flight, with what iSCSI needs to know about it. Pooled. */
export class Task extends ScsiCommand {
  /** Index in the session's table; also the upper half of its transfer tags. */
  readonly slot: number;
  state: TaskState = TaskState.FREE;
  tag = 0;
  /** The LUN field's first word, to be echoed in R2Ts. */
  lunWord = 0;
  cmdSn = 0;
  immediate = false;
  /** Counted by the task set as something that newer tasks wait for. */
  fence = false;
  /** What the CDB would move, before it is cut to the expected length. */
  commandBytes = 0;

  /** Data-in: bytes to send, sent, and the next DataSN; bytes sent of the current burst. */
  sendBytes = 0;
  sentBytes = 0;
  dataSn = 0;
  burstBytes = 0;
  /** Runs of cold data, oldest first; `runsTo` is where the next run begins. */
  readonly runs: ColdRun[] = [];
  runsTo = 0;
  cold = false;

  /** Data-out: bytes wanted, arrived (in order, wanted or not), and asked for by R2Ts. */
  wantedBytes = 0;
  arrivedBytes = 0;
  solicitedBytes = 0;
  /** Unsolicited data may still come: its last PDU had no F bit yet. */
  unsolicited = false;
  /** R2Ts sent and fulfilled; where the R2T being fulfilled ends; DataSN within it. */
  r2tsSent = 0;
  r2tsDone = 0;
  sequenceEnd = 0;
  outSn = 0;
  /** Of what R2Ts asked for, what has not come; it waits for leave to ask for more. */
  askedBytes = 0;
  thirsty = false;
  /** The beginning of a block whose rest has not arrived. */
  partial: Uint8Array | null = null;
  partialBytes = 0;
  /** Failed on its way in: what still arrives is dropped, then it is answered. */
  discard = false;

  /** Device operations in flight. */
  operations = 0;
  /** Those who wait for the end of an aborted task; null while it is not aborted. */
  quiesced: Quiesced[] | null = null;

  constructor(slot: number) {
    super();
    this.slot = slot;
  }

  override reset(): void {
    super.reset();
    this.state = TaskState.FREE;
    this.fence = false;
    this.commandBytes = 0;
    this.sendBytes = 0;
    this.sentBytes = 0;
    this.dataSn = 0;
    this.burstBytes = 0;
    this.runsTo = 0;
    this.cold = false;
    this.wantedBytes = 0;
    this.arrivedBytes = 0;
    this.solicitedBytes = 0;
    this.unsolicited = false;
    this.r2tsSent = 0;
    this.r2tsDone = 0;
    this.sequenceEnd = 0;
    this.outSn = 0;
    this.askedBytes = 0;
    this.thirsty = false;
    this.partialBytes = 0;
    this.discard = false;
    this.operations = 0;
    this.quiesced = null;
  }
}
