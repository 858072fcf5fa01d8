import { constants } from 'node:os';
import { DecodeError, messageOf, type Cancel, type Clock } from '#base/mod.ts';
import { BYTES_PER_SEND, SEGMENTS_PER_SEND, type DatagramTarget } from '#os/mod.ts';
import { packetBytes, type BlockSource, type Span } from './blocks.ts';
import type { TftpCounters } from './counters.ts';
import type { TftpFailure, TftpObserver, TftpRequest } from './observer.ts';
import type { Agreement } from './options.ts';
import { ERROR_CODE, OPCODE, decodePacket, encodePacket, type Packet } from './packet.ts';
import { Transfer, type Ending, type Sending, type Step, type TransferEvent } from './transfer.ts';

/** Whether the kernel cuts datagrams for us; switched off for good when a device cannot. */
export type Segmentation = { works: boolean };

/** What a session is made of. */
export type SessionParts = {
  readonly request: TftpRequest;
  readonly agreement: Agreement;
  readonly sizeBytes: number;
  readonly source: BlockSource;
  readonly target: DatagramTarget;
  readonly segmentation: Segmentation;
  readonly clock: Clock;
  readonly counters: TftpCounters;
  readonly observer: TftpObserver;
  /** Called once, at the end: lets go of the file, the frame and the socket. */
  readonly onEnd: () => void;
};

/** Observers hear of progress at each quarter. */
const PROGRESS_STEPS = 4;

/** One running transfer: carries events to the machine, and what it says to socket and timer. */
export class Session {
  readonly #parts: SessionParts;
  readonly #transfer: Transfer;
  readonly #startedAtMs: number;
  #deadlineMs = 0;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #cancelTimer: Cancel | undefined;
  #loading = false;
  #waiting: { firstBlock: number; blockCount: number } | undefined;
  #announced = false;
  #quarters = 0;
  #over = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#transfer = new Transfer(parts.agreement, parts.sizeBytes);
    this.#startedAtMs = parts.clock.monotonicMs();
  }

  get request(): TftpRequest {
    return this.#parts.request;
  }

  /** The client has answered once. */
  get verified(): boolean {
    return this.#transfer.verified;
  }

  /** The smoothed round trip, 0 before the first answer. */
  get roundTripMs(): number {
    return this.#transfer.roundTripMs;
  }

  /** Milliseconds since the client last moved it forward. */
  get silentMs(): number {
    return this.#parts.clock.monotonicMs() - this.#transfer.progressAtMs;
  }

  /** Milliseconds since it began. */
  get ageMs(): number {
    return this.#parts.clock.monotonicMs() - this.#startedAtMs;
  }

  /** Sends the first packet. */
  start(): void {
    this.#event({ kind: 'start' });
  }

  /** A packet of this client. */
  packet(bytes: Uint8Array): void {
    // The hot path: an ACK, without an object for it.
    if (bytes.length >= 4 && bytes[0] === 0 && bytes[1] === OPCODE.ack) {
      this.#event({ kind: 'ack', block: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0) });
      return;
    }
    let packet: Packet;
    try {
      packet = decodePacket(bytes);
    } catch (e) {
      if (!(e instanceof DecodeError)) throw e;
      this.#parts.counters.inc('malformed');
      return;
    }
    if (packet.op === 'error') {
      this.#event({ kind: 'error', code: packet.code, message: packet.message });
    } else this.#parts.counters.inc('ignoredPackets');
  }

  /** Ends it from our side, telling the client. */
  stop(reason: TftpFailure, message: string): void {
    if (!this.#over) this.#sendError(ERROR_CODE.undefined, 'Transfer ended by the server');
    this.abandon(reason, message);
  }

  /** Ends it without a word: the client has forgotten it. */
  abandon(reason: TftpFailure, message: string): void {
    this.#end({ kind: 'failed', reason, message });
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
        this.#sendBytes(encodePacket({ op: 'oack', options: this.#parts.agreement.answer }));
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
    this.#loading = true;
    this.#parts.source.load(firstBlock).then(
      () => {
        this.#loading = false;
        const next = this.#waiting;
        if (!this.#over && next !== undefined) this.#sendBlocks(next.firstBlock, next.blockCount);
      },
      (e: unknown) => {
        this.#loading = false;
        this.#readFailed(e);
      },
    );
  }

  #readFailed(e: unknown): void {
    if (this.#over) return;
    this.#sendError(ERROR_CODE.undefined, 'The file cannot be read');
    this.#parts.counters.inc('unavailable');
    this.#end({ kind: 'failed', reason: 'unavailable', message: messageOf(e) });
  }

  /** Sends framed packets, up to 64 in one call. */
  #transmit(span: Span): void {
    const { agreement, segmentation, counters } = this.#parts;
    const segment = packetBytes(agreement.blockBytes);
    const most = segmentation.works
      ? Math.max(1, Math.min(SEGMENTS_PER_SEND, Math.floor(BYTES_PER_SEND / segment)))
      : 1;
    counters.inc('sentBlocks', span.blockCount);
    const end = span.at + span.lengthBytes;
    for (let at = span.at; at < end; at += most * segment) {
      const length = Math.min(most * segment, end - at);
      const errno = this.#sendSegments(span.bytes, at, length, segment);
      if (errno === 0) continue;
      counters.inc(errno === constants.errno.EAGAIN ? 'sendBufferFull' : 'sendErrors');
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
    if (sent < 0) this.#parts.counters.inc('sendErrors');
  }

  /** One timer per session, moved only when it would fire too late: ACKs just shift the deadline. */
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
    const { observer, request, agreement, sizeBytes } = this.#parts;
    if (!this.#announced) {
      if (!this.#transfer.verified) return;
      this.#announced = true;
      this.#parts.counters.inc('started');
      const { blockBytes, windowBlocks } = agreement;
      observer.started?.(request, { sizeBytes, blockBytes, windowBlocks });
    }
    const quarter = Math.floor(
      (PROGRESS_STEPS * this.#transfer.ackedBlocks) / this.#transfer.lastBlock,
    );
    if (quarter <= this.#quarters) return;
    this.#quarters = quarter;
    observer.progress?.(request, this.#transfer.ackedBlocks * agreement.blockBytes);
  }

  #end(ending: Ending): void {
    if (this.#over) return;
    // A file of one block: its only ACK both starts and ends the story.
    if (ending.kind === 'finished') this.#tell();
    this.#over = true;
    this.#cancelTimer?.();
    const { observer, request, counters, sizeBytes, clock } = this.#parts;
    const { retransmissions } = this.#transfer;
    counters.inc('retransmittedBlocks', retransmissions);
    this.#parts.onEnd();
    switch (ending.kind) {
      case 'finished':
        counters.inc(ending.acknowledged ? 'finished' : 'unacknowledged');
        observer.finished?.(request, {
          sizeBytes,
          durationMs: clock.monotonicMs() - this.#startedAtMs,
          retransmissions,
          acknowledged: ending.acknowledged,
        });
        break;
      case 'probe':
        counters.inc('probes');
        observer.probe?.(request, sizeBytes);
        break;
      case 'failed':
        counters.inc('failed');
        observer.failed?.(request, ending.reason, ending.message);
        break;
    }
  }
}
