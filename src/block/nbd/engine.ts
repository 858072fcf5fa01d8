import type { Cancel, Clock, Log } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDone, BlockErrorKind } from '../device.ts';
import { NbdConnection } from './connection.ts';
import type { ConnectionEnd } from './connection.ts';
import type { NbdExport } from './handshake.ts';
import { InFlight } from './in-flight.ts';
import { Command, WireError } from './protocol.ts';
import type { Awaited } from './reply.ts';
import { NbdRequest } from './request.ts';
import { UnflushedWrites } from './unflushed.ts';
import type { Dial } from './wire.ts';

/*
 * What happens to calls when the server does not do what it should (hostile cases 45 and 46).
 *
 *   phase      connection   calls
 *   starting   first one    none yet
 *   ready      up           sent while there are places and room for unflushed writes
 *   replaying  up           wait: first every unflushed write goes out again, in its old order
 *   down       none         wait, holdMs at most each, then `gone`; connecting again all the time
 *   failed     none         `failed`, for good
 *   closed     none         `gone`
 *
 * The connection is lost by the server (it ended it, or died): what it took is done, so what was
 * under way is sent again and unflushed writes are replayed. A connection that WE give up (silence,
 * garbage) may still be at work: a write on it could reach the disk after a newer one, so with
 * writes under way the device fails instead. It also fails when a replay is refused, when a flush
 * fails, when the export comes back smaller, read-only or unable to flush, and when the server says
 * ESHUTDOWN to a writer (RBD: another gateway has fenced this one; nothing may be sent again).
 */

/** Requests at the server: enough to keep 10 GbE busy with 128 KiB each at 1 ms. */
const SLOTS = 128;
/** Calls waiting; their callers hold the memory, an iSCSI target has 128 for each session. */
const WAITING_MAX = 16_384;
/** How often deadlines are looked at. */
const TICK_MS = 1000;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 5000;

/** What makes a write durable at this export. */
export type Durability = 'flush' | 'fua' | 'none';

export type EngineOptions = {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly log: Log;
  readonly exportName: string;
  readonly readOnly: boolean;
  /** A call is answered `gone` after this long. */
  readonly holdMs: number;
  /** A server that owes an answer and says nothing for this long is given up. */
  readonly stallMs: number;
  readonly connectMs: number;
  /** Memory for writes that no flush covers. */
  readonly unflushedBytesMax: number;
};

type Phase = 'starting' | 'ready' | 'replaying' | 'down' | 'failed' | 'closed';
type Waiting = { readonly bornMs: number; readonly done: BlockDone };

/** The calls of one device, from the queue to the answer, over as many connections as it takes. */
export class NbdEngine {
  readonly #options: EngineOptions;
  readonly #clock: Clock;
  readonly #inFlight = new InFlight(SLOTS);
  readonly #unflushed: UnflushedWrites;
  /** Reads, flushes and questions; and what changes the disk. No order between the two is owed. */
  readonly #others: NbdRequest[] = [];
  readonly #writes: NbdRequest[] = [];
  readonly #epochs = new WeakMap<NbdRequest, number>();
  #phase: Phase = 'starting';
  #connection: NbdConnection | null = null;
  #info: NbdExport | null = null;
  #failure: BlockError | null = null;
  #started: ((end: ConnectionEnd | null) => void) | null = null;
  #replay: NbdRequest[] = [];
  #lossy = false;
  #quietSinceMs = 0;
  #downSinceMs = 0;
  #backoffMs = BACKOFF_FIRST_MS;
  #tick: Cancel | null = null;
  #retry: Cancel | null = null;
  #queuedFlush: { readonly request: NbdRequest; readonly waiters: BlockDone[] } | null = null;
  #roomFlush = false;
  #reopens: Waiting[] = [];
  #closing: Waiting[] = [];
  #closeError: BlockError | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#unflushed = new UnflushedWrites(options.unflushedBytesMax);
  }

  /** What the server said last. Only after `start` has answered without an end. */
  get info(): NbdExport {
    if (this.#info === null) throw new BlockError('gone', 'never connected', 0);
    return this.#info;
  }

  get durability(): Durability {
    if (this.info.canFlush) return 'flush';
    return this.info.canFua ? 'fua' : 'none';
  }

  /** Why every call fails from now on, if it does. */
  get failure(): BlockError | null {
    return this.#failure;
  }

  /** Bytes of memory that unflushed writes take. */
  get unflushedBytes(): number {
    return this.#unflushed.bytes;
  }

  /** Makes the first connection; answers its end when there is none. */
  start(answer: (end: ConnectionEnd | null) => void): void {
    this.#started = answer;
    this.#connect();
  }

  /** Takes a request; its `done` hears of the end exactly once, never before this returns. */
  submit(request: NbdRequest): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      queueMicrotask(() => {
        this.#answer(request, refusal);
      });
      return;
    }
    (request.mutates ? this.#writes : this.#others).push(request);
    this.#watch();
    this.#pump();
  }

  /** A flush; those that wait together share one. */
  flush(done: BlockDone): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      queueMicrotask(() => {
        done(refusal);
      });
      return;
    }
    if (this.durability !== 'flush') {
      // `fua`: each write was durable when it was answered. `none`: the owner knows.
      queueMicrotask(() => {
        done(this.#failure);
      });
      return;
    }
    if (this.#queuedFlush !== null) {
      this.#queuedFlush.waiters.push(done);
      return;
    }
    const waiters = [done];
    const request = this.#flushRequest((error) => {
      for (const waiter of waiters) waiter(error);
    });
    this.#queuedFlush = { request, waiters };
    this.submit(request);
  }

  /** Connects anew once nothing is under way, so that `info` is what the server says now. */
  reopen(done: BlockDone): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      queueMicrotask(() => {
        done(refusal);
      });
      return;
    }
    this.#reopens.push({ bornMs: this.#clock.monotonicMs(), done });
    this.#watch();
    queueMicrotask(() => {
      this.#pump();
    });
  }

  /** Waits for what is under way, flushes, takes leave. */
  close(done: BlockDone): void {
    if (this.#phase === 'closed' || this.#phase === 'failed') {
      const error = this.#phase === 'failed' ? this.#failure : null;
      this.#phase = 'closed';
      this.#failure ??= goneError('the disk is closed');
      queueMicrotask(() => {
        done(error);
      });
      return;
    }
    this.#closing.push({ bornMs: this.#clock.monotonicMs(), done });
    this.#watch();
    queueMicrotask(() => {
      this.#pump();
    });
  }

  #refusal(): BlockError | null {
    if (this.#failure !== null) return this.#failure;
    if (this.#closing.length > 0) return goneError('the disk is closed');
    if (this.#others.length + this.#writes.length >= WAITING_MAX) {
      return goneError('too many calls are waiting for the server');
    }
    const long = this.#clock.monotonicMs() - this.#downSinceMs >= this.#options.holdMs;
    return this.#phase === 'down' && long ? goneError('the NBD server cannot be reached') : null;
  }

  // ---- sending

  #pump(): void {
    while (this.#phase === 'ready' || this.#phase === 'replaying') {
      if (this.#inFlight.full) return;
      const next = this.#phase === 'replaying' ? this.#nextReplay() : this.#nextQueued();
      if (next === null) break;
      this.#send(next);
    }
    if (this.#inFlight.size > 0) return;
    if (this.#phase === 'replaying' && this.#replay.length === 0) {
      this.#phase = 'ready';
      this.#pump();
    } else if (this.#closing.length > 0) {
      this.#finishClosing();
    } else if (this.#reopens.length > 0 && this.#phase === 'ready') {
      this.#changeConnection();
    }
  }

  #nextReplay(): NbdRequest | null {
    const next = this.#replay[0];
    if (next === undefined) return null;
    // Sent together, two writes to one place could change their order.
    if (this.#inFlight.list().some((r) => r.overlaps(next))) return null;
    this.#replay.shift();
    return next;
  }

  #nextQueued(): NbdRequest | null {
    if (this.#reopens.length > 0 && this.#closing.length === 0) return null;
    const write = this.#writes[0];
    if (write !== undefined && this.#roomFor(write)) {
      this.#writes.shift();
      return write;
    }
    return this.#others.shift() ?? null;
  }

  #roomFor(write: NbdRequest): boolean {
    if (this.#unflushed.hasRoomFor(write)) return true;
    if (this.durability === 'none') {
      while (!this.#unflushed.hasRoomFor(write) && this.#unflushed.dropOldest()) this.#lossy = true;
    } else if (this.durability === 'flush' && !this.#roomFlush) {
      this.#roomFlush = true;
      const flush = this.#flushRequest(() => {
        this.#roomFlush = false;
      });
      this.#others.unshift(flush);
    }
    return this.#unflushed.hasRoomFor(write);
  }

  #flushRequest(done: BlockDone): NbdRequest {
    const bornMs = this.#clock.monotonicMs();
    const command = Command.FLUSH;
    return new NbdRequest({ command, flags: 0, offsetBytes: 0, lengthBytes: 0, bornMs, done });
  }

  #send(request: NbdRequest): void {
    const now = this.#clock.monotonicMs();
    if (this.#inFlight.size === 0) this.#quietSinceMs = now;
    request.sentMs = now;
    if (request.mutates && request.takenInEpoch < 0) this.#unflushed.add(request);
    if (request.command === Command.FLUSH) {
      this.#epochs.set(request, this.#unflushed.beginFlush());
      if (request === this.#queuedFlush?.request) this.#queuedFlush = null;
    }
    this.#inFlight.put(request);
    this.#connection?.send(request.frame);
  }

  // ---- answers

  #finished(awaited: Awaited, error: number, text: string): void {
    const request = awaited as NbdRequest;
    if (error === WireError.ESHUTDOWN) {
      if (this.#options.readOnly) this.#connection?.giveUp('the server shuts down');
      else this.#fail('the server shuts down, or has given the export to another');
      return;
    }
    this.#inFlight.remove(request);
    if (request.mutates) this.#mutated(request, error, text);
    else if (request.command === Command.FLUSH) this.#flushed(request, error, text);
    else this.#answer(request, error === 0 ? null : errorOf(request, error, text));
    this.#pump();
  }

  #mutated(request: NbdRequest, error: number, text: string): void {
    if (error !== 0) {
      this.#unflushed.delete(request);
      if (request.answered) this.#fail(`the server refused to write again: ${text} (${error})`);
      else this.#answer(request, errorOf(request, error, text));
      return;
    }
    if (this.durability === 'fua') this.#unflushed.delete(request);
    else this.#unflushed.taken(request);
    this.#answer(request, null);
  }

  #flushed(request: NbdRequest, error: number, text: string): void {
    if (error === 0) {
      this.#unflushed.flushed(this.#epochs.get(request) ?? 0);
      this.#answer(request, null);
    } else {
      this.#failure ??= new BlockError('failed', `a flush failed: ${text} (${error})`, 0);
      this.#answer(request, errorOf(request, error, text));
      this.#fail('a flush failed');
    }
  }

  #answer(request: NbdRequest, error: BlockError | null): void {
    if (request.answered) return;
    request.answered = true;
    request.into = null;
    request.done(error);
  }

  // ---- connections

  #connect(): void {
    this.#retry = null;
    const { dial, clock, exportName, connectMs } = this.#options;
    const connection = new NbdConnection(
      { dial, clock, exportName, connectMs },
      {
        awaited: (high, low) => this.#inFlight.find(high, low),
        finished: (request, error, text) => {
          this.#finished(request, error, text);
        },
        up: (info) => {
          this.#up(info);
        },
        down: (end) => {
          this.#down(end);
        },
      },
    );
    this.#connection = connection;
  }

  #up(info: NbdExport): void {
    const before = this.#info;
    const change = before === null ? null : this.#changeForWorse(before, info);
    if (change !== null) {
      this.#fail(`the export came back ${change}`);
      return;
    }
    this.#info = info;
    this.#backoffMs = BACKOFF_FIRST_MS;
    if (before !== null) this.#options.log.info({}, 'NBD server is back');
    this.#replay = this.#unflushed.list();
    this.#phase = this.#replay.length > 0 ? 'replaying' : 'ready';
    const started = this.#started;
    this.#started = null;
    started?.(null);
    for (const waiting of this.#reopens.splice(0)) waiting.done(null);
    this.#pump();
  }

  #changeForWorse(before: NbdExport, now: NbdExport): string | null {
    if (now.sizeBytes < before.sizeBytes) {
      return `smaller (${now.sizeBytes} bytes, it had ${before.sizeBytes})`;
    }
    if (now.minimumBlockBytes > before.minimumBlockBytes) return 'with larger blocks';
    if (now.payloadBytesMax < before.payloadBytesMax) return 'with a lower limit of length';
    if (this.#options.readOnly) return null;
    if (now.readOnly) return 'read-only';
    if (before.canFlush && !now.canFlush) return 'unable to flush';
    if (before.canFua && !before.canFlush && !now.canFua) return 'unable to write durably';
    if (before.canZero && !now.canZero) return 'unable to write zeros';
    return null;
  }

  #down(end: ConnectionEnd): void {
    this.#connection = null;
    if (this.#phase === 'failed' || this.#phase === 'closed') return;
    const started = this.#started;
    if (started !== null) {
      this.#started = null;
      this.#phase = 'failed';
      this.#failure = goneError(end.reason);
      started(end);
      return;
    }
    const sent = this.#inFlight.list();
    if (end.by === 'us' && sent.some((r) => r.mutates)) {
      this.#fail(`given up with writes under way: ${end.reason}`);
      return;
    }
    if (this.#lossy) {
      this.#fail(`unflushed writes may be lost with the connection: ${end.reason}`);
      return;
    }
    if (this.#phase !== 'down') this.#downSinceMs = this.#clock.monotonicMs();
    this.#phase = 'down';
    this.#options.log.warn({ reason: end.reason }, 'NBD server lost, connecting again');
    this.#takeBack();
    this.#retry = this.#clock.after(this.#backoffMs, () => {
      this.#connect();
    });
    this.#backoffMs = Math.min(BACKOFF_LAST_MS, this.#backoffMs * 2);
    if (this.#closing.length > 0) this.#pump();
  }

  /** What the lost connection had: writes wait in the list of unflushed ones, the rest queues. */
  #takeBack(): void {
    this.#replay = [];
    const back = this.#inFlight.takeAll().sort((a, b) => b.bornMs - a.bornMs);
    for (const request of back) {
      request.rewind();
      if (request.mutates || request.answered) continue;
      this.#others.unshift(request);
    }
  }

  /** Nothing is under way: flush what the server could lose, then come again. */
  #changeConnection(): void {
    if (this.durability === 'flush' && this.#unflushed.size > 0) {
      this.#send(this.#flushRequest(() => undefined));
      return;
    }
    this.#connection?.leave();
    this.#phase = 'down';
    this.#downSinceMs = this.#clock.monotonicMs();
    this.#connect();
  }

  // ---- the end

  #fail(reason: string): void {
    if (this.#phase === 'failed' || this.#phase === 'closed') return;
    this.#phase = 'failed';
    this.#failure ??= new BlockError('failed', `the NBD disk has failed: ${reason}`, 0);
    this.#options.log.error({ reason }, 'NBD disk failed for good');
    this.#letGo(this.#failure);
  }

  /** Ends everything that waits with `error`, and the connection. */
  #letGo(error: BlockError): void {
    this.#retry?.();
    this.#tick?.();
    this.#tick = null;
    this.#connection?.giveUp(error.message);
    const all = [...this.#inFlight.takeAll(), ...this.#unflushed.list()];
    all.push(...this.#others.splice(0), ...this.#writes.splice(0));
    for (const request of all) this.#answer(request, error);
    for (const waiting of this.#reopens.splice(0)) waiting.done(error);
    for (const waiting of this.#closing.splice(0)) waiting.done(error);
  }

  /** Called while closing, when nothing is at the server. */
  #finishClosing(): void {
    const waiting = this.#others.length + this.#writes.length > 0;
    const unsent = this.#unflushed.list().some((r) => !r.answered);
    if (waiting || unsent || this.#phase === 'replaying') return;
    if (this.#unflushed.size > 0 && this.durability === 'flush' && this.#closeError === null) {
      if (this.#phase !== 'ready') return; // a deadline ends this
      this.#send(
        this.#flushRequest((error) => {
          this.#closeError = error;
        }),
      );
      return;
    }
    this.#endClosing(this.#closeError);
  }

  #endClosing(error: BlockError | null): void {
    const waiters = this.#closing.splice(0);
    this.#phase = 'closed';
    this.#failure ??= goneError('the disk is closed');
    this.#connection?.leave();
    this.#connection = null;
    this.#letGo(this.#failure);
    for (const waiter of waiters) waiter.done(error);
  }

  // ---- deadlines

  #watch(): void {
    this.#tick ??= this.#clock.after(TICK_MS, () => {
      this.#tick = null;
      this.#onTick();
    });
  }

  #onTick(): void {
    const now = this.#clock.monotonicMs();
    const sent = this.#inFlight.list();
    const late = (sinceMs: number): boolean => now - sinceMs >= this.#options.holdMs;
    const overdue = sent.find(
      (r) => r.mutates && (late(r.sentMs) || (!r.answered && late(r.bornMs))),
    );
    if (overdue !== undefined) {
      this.#fail(`no answer to a write within ${this.#options.holdMs} ms`);
      return;
    }
    const heardMs = Math.max(this.#connection?.heardMs ?? 0, this.#quietSinceMs);
    const silent = sent.length > 0 && now - heardMs >= this.#options.stallMs;
    // Writes under way: wait for them as long as may be, giving up costs the disk.
    if (silent && !sent.some((r) => r.mutates)) this.#connection?.giveUp('the server is silent');
    this.#expire(late);
    const busy = this.#others.length + this.#writes.length + this.#inFlight.size > 0;
    const ending = this.#closing.length + this.#reopens.length > 0;
    const unsure = this.#phase !== 'ready' && this.#unflushed.size > 0;
    if (this.#phase !== 'closed' && (busy || ending || unsure)) this.#watch();
  }

  /** Answers what has waited too long. What it stood for is not sent later. */
  #expire(late: (sinceMs: number) => boolean): void {
    const gone = goneError(`the NBD server gave no answer within ${this.#options.holdMs} ms`);
    for (const request of this.#inFlight.list()) {
      // It stays in its slot: an answer that still comes finds it, and no memory to write to.
      if (late(request.bornMs)) this.#answer(request, gone);
    }
    for (const request of this.#unflushed.list()) {
      if (request.answered || request.slot >= 0 || !late(request.bornMs)) continue;
      this.#unflushed.delete(request);
      this.#replay = this.#replay.filter((r) => r !== request);
      this.#answer(request, gone);
    }
    for (const queue of [this.#others, this.#writes]) {
      const expired = queue.filter((r) => late(r.bornMs));
      if (expired.length === 0) continue;
      queue.splice(0, queue.length, ...queue.filter((r) => !late(r.bornMs)));
      for (const request of expired) {
        if (request === this.#queuedFlush?.request) this.#queuedFlush = null;
        this.#answer(request, gone);
      }
    }
    const reopens = this.#reopens.filter((w) => late(w.bornMs));
    this.#reopens = this.#reopens.filter((w) => !late(w.bornMs));
    for (const waiting of reopens) waiting.done(gone);
    if (this.#closing.some((w) => late(w.bornMs))) {
      this.#endClosing(this.#unflushed.size > 0 ? gone : this.#closeError);
    }
  }
}

function goneError(message: string): BlockError {
  return new BlockError('gone', message, 0);
}

const KIND_BY_ERROR: Readonly<Record<number, BlockErrorKind>> = {
  [WireError.EPERM]: 'read-only',
  [WireError.ENOSPC]: 'no-space',
};

/** The one place where an error of the wire becomes ours; what is not listed is the medium's. */
function errorOf(request: NbdRequest, error: number, text: string): BlockError {
  const said = text === '' ? '' : `: ${text}`;
  const message = `the NBD server answered error ${error}${said}`;
  return new BlockError(KIND_BY_ERROR[error] ?? 'io', message, request.offsetBytes);
}
