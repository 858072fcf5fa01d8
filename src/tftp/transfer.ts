import { InternalError } from '#base/mod.ts';
import type { TftpFailure } from './observer.ts';
import type { Agreement } from './options.ts';
import { ERROR_CODE } from './packet.ts';
import { RoundTrip } from './round-trip.ts';

/**
 * One read transfer, without sockets, files or timers: it says which blocks to send and when it
 * wants to be woken. Blocks are counted from 1 and never wrap here; the wire carries the low 16
 * bits (block 65536 is 0, as every client that loads more than 32 MB at 512 bytes expects).
 *
 *   phase      event            →  phase      sends
 *   idle       start, options      offered    OACK
 *   idle       start, none         sending    block 1
 *   offered    ACK 0               sending    window 1…w
 *   offered    ERROR               over       (a probe if it asked for the size)
 *   offered    time-out            offered    OACK again, at most FIRST_RESENDS times
 *   sending    ACK in window       sending    from the block after it, or over when it was the last
 *   sending    ACK of the base     sending    nothing; with a window: from the base, at most once
 *   sending    other ACK           sending    nothing (old, or never sent)
 *   sending    time-out            sending    the window again, or over
 *   any        ERROR               over
 *
 * The Sorcerer's Apprentice (RFC 1123 §4.2.3.1): data is resent on an ACK only where the ACK tells
 * of a gap (RFC 7440 §4), and never sooner than a round trip after the last sending, so a
 * duplicated packet cannot breed.
 */
export type TransferEvent =
  | { readonly kind: 'start' }
  | { readonly kind: 'ack'; readonly block: number }
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  | { readonly kind: 'timeout' };

/** How a transfer ended. */
export type Ending =
  | { readonly kind: 'finished'; readonly acknowledged: boolean }
  | { readonly kind: 'probe' }
  | { readonly kind: 'failed'; readonly reason: TftpFailure; readonly message: string };

/** What to put on the wire. */
export type Sending =
  | { readonly kind: 'oack' }
  | { readonly kind: 'data'; readonly firstBlock: number; readonly blockCount: number }
  | { readonly kind: 'error'; readonly code: number; readonly message: string };

/** What the caller does after an event. */
export type Step = {
  readonly send?: Sending;
  /** When the next `timeout` event is due, on the clock of the events; replaces the one before. */
  readonly deadlineMs?: number;
  readonly ending?: Ending;
};

/**
 * Resends of the first packet, before the client has answered anything: 1 + 2 + 4 + 4 + 4 s, so a
 * forged source address gets five small packets and no more.
 */
const FIRST_RESENDS = 4;
/** Silence in the middle after which we give up; ROMs themselves give up after 4 to 30 s. */
const PATIENCE_MS = 30_000;
/** The same when all was sent: the last ACK is often lost, and nobody waits for us any more. */
const LAST_PATIENCE_MS = 8000;
/** An ACK of a gap cannot be younger than its round trip; a little less, for jitter. */
const GAP_ROUND_TRIPS = 0.9;

type Phase = 'idle' | 'offered' | 'sending' | 'over';

/**
 * One transfer as a pure machine (RFC 1350, 2347–2349, 7440): packets and time in, packets to send
 * and the next deadline out. The caller passes the clock in and does what it says.
 */
export class Transfer {
  readonly #agreement: Agreement;
  /** Number of the last block; it is shorter than the others, maybe empty (RFC 1350 §6). */
  readonly lastBlock: number;
  readonly #roundTrip: RoundTrip;
  #phase: Phase = 'idle';
  /** All blocks up to here are acknowledged. */
  #acked = 0;
  /** Highest block ever sent. */
  #sent = 0;
  /** The client has answered: its address is real. */
  #verified = false;
  #resends = 0;
  #sentAtMs = 0;
  /** What is in flight was sent once: its answer is a sample. */
  #clean = true;
  /** The base for which a repeated ACK was honoured already. */
  #gapAt = -1;
  #progressAtMs = 0;
  #deadlineMs = 0;
  #retransmissions = 0;

  constructor(agreement: Agreement, sizeBytes: number) {
    this.#agreement = agreement;
    this.lastBlock = Math.floor(sizeBytes / agreement.blockBytes) + 1;
    this.#roundTrip = new RoundTrip(agreement.timeoutMs);
  }

  /** Blocks sent again so far. */
  get retransmissions(): number {
    return this.#retransmissions;
  }

  /** True once the client has acknowledged anything. */
  get verified(): boolean {
    return this.#verified;
  }

  /** Blocks that the client has. */
  get ackedBlocks(): number {
    return this.#acked;
  }

  /** Takes one event at `nowMs` (monotonic). After the ending every event is ignored. */
  handle(event: TransferEvent, nowMs: number): Step {
    if (this.#phase === 'over') return {};
    switch (event.kind) {
      case 'start':
        return this.#start(nowMs);
      case 'ack':
        return this.#phase === 'offered'
          ? this.#ackOffer(event.block, nowMs)
          : this.#ack(event.block, nowMs);
      case 'error':
        return this.#clientError(event.code, event.message);
      case 'timeout':
        return this.#timeout(nowMs);
    }
  }

  #start(nowMs: number): Step {
    if (this.#phase !== 'idle') throw new InternalError('a transfer starts once');
    this.#progressAtMs = nowMs;
    if (this.#agreement.answer.length === 0) {
      this.#phase = 'sending';
      return this.#sendWindow(nowMs);
    }
    this.#phase = 'offered';
    return this.#sendOffer(nowMs);
  }

  #sendOffer(nowMs: number): Step {
    this.#sentAtMs = nowMs;
    return { send: { kind: 'oack' }, deadlineMs: this.#arm(nowMs) };
  }

  #ackOffer(block: number, nowMs: number): Step {
    if (block !== 0) return {};
    this.#phase = 'sending';
    this.#moved(nowMs);
    return this.#sendWindow(nowMs);
  }

  #ack(block: number, nowMs: number): Step {
    const ahead = (block - this.#acked) & 0xffff;
    if (ahead === 0) return this.#repeatedAck(nowMs);
    if (ahead > this.#sent - this.#acked) return {};
    this.#acked += ahead;
    const gap = this.#acked < this.#sent;
    const early = gap && this.#tooEarly(nowMs);
    if (gap) {
      this.#clean = false;
      this.#verified = true;
      this.#progressAtMs = nowMs;
      this.#roundTrip.progress();
    } else {
      this.#moved(nowMs);
    }
    if (this.#acked === this.lastBlock) return this.#end({ kind: 'finished', acknowledged: true });
    // A client that acknowledges every block of a window: its next ACK is on the way.
    return early ? { deadlineMs: this.#arm(nowMs) } : this.#sendWindow(nowMs);
  }

  /** The client repeats its last ACK: with a window it may have lost the first block of it. */
  #repeatedAck(nowMs: number): Step {
    const lost = this.#agreement.windowBlocks > 1 && this.#sent > this.#acked;
    if (!lost || this.#gapAt === this.#acked || this.#tooEarly(nowMs)) return {};
    this.#gapAt = this.#acked;
    return this.#sendWindow(nowMs);
  }

  #tooEarly(nowMs: number): boolean {
    return nowMs - this.#sentAtMs < GAP_ROUND_TRIPS * this.#roundTrip.smoothedMs;
  }

  #timeout(nowMs: number): Step {
    if (nowMs < this.#deadlineMs) return { deadlineMs: this.#deadlineMs };
    this.#roundTrip.backOff();
    this.#resends += 1;
    if (!this.#verified && this.#resends > FIRST_RESENDS) return this.#neverAnswered();
    const all = this.#sent === this.lastBlock;
    if (nowMs - this.#progressAtMs >= (all ? LAST_PATIENCE_MS : PATIENCE_MS)) {
      return all && this.#verified
        ? this.#end({ kind: 'finished', acknowledged: false })
        : this.#fail('timed-out', `no answer for ${PATIENCE_MS / 1000} s`, true);
    }
    this.#clean = false;
    return this.#phase === 'offered' ? this.#sendOffer(nowMs) : this.#sendWindow(nowMs);
  }

  #neverAnswered(): Step {
    // Many ROMs ask for the size and leave without a word.
    if (this.#agreement.askedSize) return this.#end({ kind: 'probe' });
    return this.#fail('no-answer', 'the client never acknowledged anything', false);
  }

  #clientError(code: number, message: string): Step {
    const text = `the client said: ${message === '' ? `error ${code}` : message}`;
    // The code of a probe's goodbye varies by ROM; "before any data" is what they share. EDK2 says
    // 8, as if it refused the options, and "User aborted the transfer".
    const sized = this.#phase === 'offered' && this.#agreement.askedSize;
    const refused = code === ERROR_CODE.optionRefused && !(sized && /abort/i.test(message));
    if (refused) return this.#fail('options-refused', text, false);
    return sized ? this.#end({ kind: 'probe' }) : this.#fail('client-error', text, false);
  }

  #sendWindow(nowMs: number): Step {
    const firstBlock = this.#acked + 1;
    const left = this.lastBlock - this.#acked;
    const blockCount = Math.min(this.#agreement.windowBlocks, left);
    const again = Math.min(blockCount, this.#sent - this.#acked);
    this.#retransmissions += again;
    this.#clean = again === 0;
    this.#sent = Math.max(this.#sent, this.#acked + blockCount);
    this.#sentAtMs = nowMs;
    return { send: { kind: 'data', firstBlock, blockCount }, deadlineMs: this.#arm(nowMs) };
  }

  /** Everything in flight was answered. */
  #moved(nowMs: number): void {
    if (this.#clean) this.#roundTrip.sample(nowMs - this.#sentAtMs);
    this.#verified = true;
    this.#resends = 0;
    this.#progressAtMs = nowMs;
    this.#roundTrip.progress();
  }

  #arm(nowMs: number): number {
    this.#deadlineMs = nowMs + this.#roundTrip.timeoutMs;
    return this.#deadlineMs;
  }

  #fail(reason: TftpFailure, message: string, tellClient: boolean): Step {
    const step = this.#end({ kind: 'failed', reason, message });
    if (!tellClient) return step;
    return { ...step, send: { kind: 'error', code: ERROR_CODE.undefined, message: 'Timed out' } };
  }

  #end(ending: Ending): Step {
    this.#phase = 'over';
    return { ending };
  }
}
