import { constants } from 'node:os';
import { DecodeError, messageOf, type Cancel, type Clock } from '#base/mod.ts';
import { BYTES_PER_SEND, SEGMENTS_PER_SEND, type DatagramTarget } from '#os/mod.ts';
import { packetBytes, type BlockSource, type Span } from './blocks.ts';
import type { TftpCounter } from './counters.ts';
import type { LaneEvent, LaneJob } from './lane.ts';
import type { TftpFailure } from './observer.ts';
import { ERROR_CODE, OPCODE, decodePacket, encodePacket, type Packet } from './packet.ts';
import { Transfer, type Ending, type Sending, type Step, type TransferEvent } from './transfer.ts';

/** Whether the kernel cuts datagrams for us; switched off for good when a device cannot. */
export type Segmentation = { works: boolean };

/** What one transfer adds to the counters. */
export type Tally = Partial<Record<TftpCounter, number>>;

/** What a session is made of. */
export type SessionParts = {
  readonly job: LaneJob;
  readonly source: BlockSource;
  readonly target: DatagramTarget;
  readonly segmentation: Segmentation;
  readonly clock: Clock;
  readonly tell: (event: LaneEvent) => void;
  /** A cold read begins (true), or is over. */
  readonly onReading: (now: boolean) => void;
  /** Called once, at the end. */
  readonly closePort: () => void;
};

/** News of progress at each quarter. */
const PROGRESS_STEPS = 4;

/** One running transfer: carries events to the machine, and what it says to socket and timer. */
export class Session {
  readonly #parts: SessionParts;
  readonly #transfer: Transfer;
  readonly #startedAtMs: number;
  readonly #tally: Tally = {};
  #sentBlocks = 0;
  #deadlineMs = 0;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #cancelTimer: Cancel | undefined;
  #loading = false;
  #waiting: { firstBlock: number; blockCount: number } | undefined;
  #announced = false;
  #quarters = 0;
  #over = false;
  #ending: Ending | undefined;
  readonly #ended = Promise.withResolvers<void>();

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#transfer = new Transfer(parts.job.agreement, parts.job.sizeBytes);
    this.#startedAtMs = parts.clock.monotonicMs();
  }

  /** Resolves when it is over and nothing reads its file any more. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Sends the first packet. */
  start(): void {
    this.#event({ kind: 'start' });
  }

  /** A packet of this client: the first `length` bytes of `bytes`, which are not kept. */
  packet(bytes: Uint8Array, length: number): void {
    // The hot path: an ACK, without an object for it.
    if (length >= 4 && bytes[0] === 0 && bytes[1] === OPCODE.ack) {
      this.#event({ kind: 'ack', block: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0) });
      return;
    }
    let packet: Packet;
    try {
      packet = decodePacket(bytes.subarray(0, length));
    } catch (e) {
      if (!(e instanceof DecodeError)) throw e;
      this.#count('malformed');
      return;
    }
    if (packet.op === 'error') {
      this.#event({ kind: 'error', code: packet.code, message: packet.message });
    } else this.#count('ignoredPackets');
  }

  /** Somebody else's packet came to our port. */
  stray(): void {
    this.#count('strayPackets');
  }

  /** Ends it from our side; `tell` sends the client an ERROR, unless it has forgotten us. */
  stop(reason: TftpFailure, message: string, tell: boolean): void {
    if (this.#over) return;
    if (tell) this.#sendError(ERROR_CODE.undefined, 'Transfer ended by the server');
    this.#end({ kind: 'failed', reason, message });
  }

  #count(name: TftpCounter): void {
    this.#tally[name] = (this.#tally[name] ?? 0) + 1;
  }

  #event(event: TransferEvent): void {
    if (!this.#over) this.#perform(this.#transfer.handle(event, this.#parts.clock.monotonicMs()));
  }

  #perform(step: Step): void {
    if (step.send !== undefined) this.#send(step.send);
    if (this.#over) return; // reading the file failed
    if (step.ending !== undefined) {
      this.#end(step.ending);
      return;
    }
    if (step.deadlineMs !== undefined) this.#arm(step.deadlineMs);
    this.#tell();
  }

  #send(sending: Sending): void {
    switch (sending.kind) {
      case 'oack':
        this.#sendBytes(encodePacket({ op: 'oack', options: this.#parts.job.agreement.answer }));
        break;
      case 'error':
        this.#sendError(sending.code, sending.message);
        break;
      case 'data':
        this.#sendBlocks(sending.firstBlock, sending.blockCount);
        break;
    }
  }

  #sendBlocks(firstBlock: number, blockCount: number): void {
    this.#waiting = undefined;
    let block = firstBlock;
    const end = firstBlock + blockCount;
    try {
      while (block < end) {
        const span = this.#parts.source.at(block, end - block);
        if (span === undefined) {
          this.#load(block, end - block);
          return;
        }
        this.#transmit(span);
        block += span.blockCount;
      }
    } catch (e) {
      this.#readFailed(e);
    }
  }

  /** Cold data: reads it off the loop, then sends what the machine wanted last. */
  #load(firstBlock: number, blockCount: number): void {
    this.#waiting = { firstBlock, blockCount };
    if (this.#loading) return;
    this.#setLoading(true);
    this.#parts.source.load(firstBlock).then(
      () => {
        this.#setLoading(false);
        const next = this.#waiting;
        if (this.#over) this.#report();
        else if (next !== undefined) this.#sendBlocks(next.firstBlock, next.blockCount);
      },
      (e: unknown) => {
        this.#setLoading(false);
        if (this.#over) this.#report();
        else this.#readFailed(e);
      },
    );
  }

  #setLoading(now: boolean): void {
    this.#loading = now;
    this.#parts.onReading(now);
  }

  #readFailed(e: unknown): void {
    if (this.#over) return;
    this.#sendError(ERROR_CODE.undefined, 'The file cannot be read');
    this.#count('unavailable');
    this.#end({ kind: 'failed', reason: 'unavailable', message: messageOf(e) });
  }

  /** Sends framed packets, up to 64 in one call. */
  #transmit(span: Span): void {
    const { job, segmentation } = this.#parts;
    const segment = packetBytes(job.agreement.blockBytes);
    const most = segmentation.works
      ? Math.max(1, Math.min(SEGMENTS_PER_SEND, Math.floor(BYTES_PER_SEND / segment)))
      : 1;
    this.#sentBlocks += span.blockCount;
    const end = span.at + span.lengthBytes;
    for (let at = span.at; at < end; at += most * segment) {
      const length = Math.min(most * segment, end - at);
      const errno = this.#sendSegments(span.bytes, at, length, segment);
      if (errno === 0) continue;
      this.#count(errno === constants.errno.EAGAIN ? 'sendBufferFull' : 'sendErrors');
      return; // as if lost: the time-out repeats it
    }
  }

  #sendSegments(bytes: Uint8Array, at: number, length: number, segment: number): number {
    const { target, segmentation } = this.#parts;
    const sent = target.send(bytes, at, length, segment);
    if (sent >= 0) return 0;
    const { EINVAL, EIO, EMSGSIZE, EOPNOTSUPP } = constants.errno;
    if (length <= segment || ![EINVAL, EIO, EMSGSIZE, EOPNOTSUPP].includes(-sent)) return -sent;
    // EIO: a device without checksum offload; EINVAL: an old kernel, or a smaller MTU on the way.
    segmentation.works = false;
    for (let from = at; from < at + length; from += segment) {
      const one = target.send(bytes, from, Math.min(segment, at + length - from));
      if (one < 0) return -one;
    }
    return 0;
  }

  #sendError(code: number, message: string): void {
    this.#sendBytes(encodePacket({ op: 'error', code, message }));
  }

  #sendBytes(bytes: Uint8Array): void {
    const sent = this.#parts.target.send(bytes, 0, bytes.length);
    if (sent < 0) this.#count('sendErrors');
  }

  /**
   * One timer per session, moved only when it would fire too late: ACKs just shift the deadline.
   */
  #arm(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs;
    if (deadlineMs >= this.#timerDueMs) return;
    this.#cancelTimer?.();
    this.#timerDueMs = deadlineMs;
    const { clock } = this.#parts;
    this.#cancelTimer = clock.after(Math.max(0, deadlineMs - clock.monotonicMs()), () => {
      this.#timerDueMs = Number.POSITIVE_INFINITY;
      if (clock.monotonicMs() < this.#deadlineMs) this.#arm(this.#deadlineMs);
      else this.#event({ kind: 'timeout' });
    });
  }

  #tell(): void {
    const { job, tell } = this.#parts;
    if (!this.#announced) {
      if (!this.#transfer.verified) return;
      this.#announced = true;
      tell({ kind: 'started', id: job.id });
    }
    const { ackedBlocks, lastBlock } = this.#transfer;
    if (ackedBlocks * PROGRESS_STEPS < (this.#quarters + 1) * lastBlock) return;
    this.#quarters = Math.floor((PROGRESS_STEPS * ackedBlocks) / lastBlock);
    const sentBytes = Math.min(job.sizeBytes, ackedBlocks * job.agreement.blockBytes);
    tell({ kind: 'progress', id: job.id, sentBytes });
  }

  #end(ending: Ending): void {
    if (this.#over) return;
    // A file of one block: its only ACK both starts and ends the story.
    if (ending.kind === 'finished') this.#tell();
    this.#over = true;
    this.#ending = ending;
    this.#cancelTimer?.();
    this.#parts.closePort();
    this.#report();
  }

  /** Once nothing reads the file any more: then its owner may close it. */
  #report(): void {
    const { job, tell, clock } = this.#parts;
    if (this.#loading || this.#ending === undefined) return;
    this.#tally.sentBlocks = this.#sentBlocks;
    this.#tally.retransmittedBlocks = this.#transfer.retransmissions;
    const durationMs = clock.monotonicMs() - this.#startedAtMs;
    tell({ kind: 'ended', id: job.id, ending: this.#ending, durationMs, tally: this.#tally });
    this.#ended.resolve();
  }
}
