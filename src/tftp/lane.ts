import type { Clock } from '#base/mod.ts';
import type { DatagramTarget, UdpSocketOptions } from '#os/mod.ts';
import { STAGING_BYTES, StreamFrame, WholeFrame, type BlockSource } from './blocks.ts';
import type { TftpClient } from './observer.ts';
import type { Agreement } from './options.ts';
import { descriptorReader, memoryReader } from './reader.ts';
import { Session, type Segmentation, type Tally } from './session.ts';
import type { Ending } from './transfer.ts';

/** Where the blocks of a job come from; plain data, so that it can go to another thread. */
export type JobSource =
  | { readonly kind: 'framed'; readonly framed: Uint8Array }
  | { readonly kind: 'content'; readonly content: Uint8Array }
  | { readonly kind: 'fd'; readonly fd: number };

/** One transfer to run. */
export type LaneJob = {
  readonly id: number;
  readonly client: TftpClient;
  readonly sizeBytes: number;
  readonly agreement: Agreement;
  readonly source: JobSource;
  /** How to open the transfer's own port. */
  readonly local: UdpSocketOptions;
};

/** What a lane tells of its transfers; after `ended` it has let go of the source. */
export type LaneEvent =
  | { readonly kind: 'started'; readonly id: number }
  | { readonly kind: 'progress'; readonly id: number; readonly sentBytes: number }
  | {
      readonly kind: 'ended';
      readonly id: number;
      readonly ending: Ending;
      readonly durationMs: number;
      readonly tally: Tally;
    };

/** Why a transfer is ended from our side. */
export type StopReason = 'replaced' | 'no-answer' | 'stopped';

/** Runs transfers: in this thread (`LocalLane`, `LaneLoop`) or in another (`ThreadLane`). */
export interface Lane {
  start(job: LaneJob): void;
  /** Ends a transfer from our side; with `tell` its client gets an ERROR. */
  stop(id: number, reason: StopReason, message: string, tell: boolean): void;
  /** Ends all transfers, telling their clients, and lets go of everything. */
  close(): Promise<void>;
}

/** The transfers of this thread, on ports that others own and bring packets from. */
export class LocalLane {
  readonly #tell: (event: LaneEvent) => void;
  readonly #clock: Clock;
  readonly #sessions = new Map<number, Session>();
  readonly #staging = new Uint8Array(STAGING_BYTES);
  readonly #segmentation: Segmentation = { works: true };
  #reading = 0;

  constructor(tell: (event: LaneEvent) => void, clock: Clock) {
    this.#tell = tell;
    this.#clock = clock;
  }

  /** Transfers that run. */
  get transfers(): number {
    return this.#sessions.size;
  }

  /** A cold read is on its way. */
  get reading(): boolean {
    return this.#reading > 0;
  }

  /** Makes the session of a job; its packets are the caller's to bring. */
  add(job: LaneJob, target: DatagramTarget, closePort: () => void): Session {
    const session = new Session({
      job,
      source: this.#sourceOf(job),
      target,
      segmentation: this.#segmentation,
      clock: this.#clock,
      tell: (event) => {
        if (event.kind === 'ended') this.#sessions.delete(job.id);
        this.#tell(event);
      },
      onReading: (now) => {
        this.#reading += now ? 1 : -1;
      },
      closePort,
    });
    this.#sessions.set(job.id, session);
    return session;
  }

  /** A packet of the client of that transfer. */
  packet(id: number, bytes: Uint8Array): void {
    this.#sessions.get(id)?.packet(bytes, bytes.length);
  }

  /** See `Lane`. */
  stop(id: number, reason: StopReason, message: string, tell: boolean): void {
    this.#sessions.get(id)?.stop(reason, message, tell);
  }

  /** Ends all transfers, and waits for the reads that still run. */
  async close(): Promise<void> {
    const ends = [...this.#sessions.values()].map((session) => {
      session.stop('stopped', 'the server was stopped', true);
      return session.ended;
    });
    await Promise.all(ends);
  }

  #sourceOf(job: LaneJob): BlockSource {
    const { source, sizeBytes, agreement } = job;
    const { blockBytes, windowBlocks } = agreement;
    if (source.kind === 'framed') return new WholeFrame(source.framed, blockBytes);
    const reader =
      source.kind === 'content'
        ? memoryReader(source.content)
        : descriptorReader(source.fd, sizeBytes);
    return new StreamFrame(reader, blockBytes, windowBlocks, this.#staging);
  }
}
