import type { Cancel, Clock } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import type { ConnectionEnd } from './connection.ts';
import type { EngineOptions } from './engine-options.ts';
import { errorOf, failedError, goneError } from './errors.ts';
import type { NbdExport } from './handshake.ts';
import { RequestLedger, flushRequest } from './ledger.ts';
import type { Durability, IsLate } from './ledger.ts';
import { NbdLink, changeForWorse } from './link.ts';
import { Command, WireError } from './protocol.ts';
import type { Awaited } from './reply.ts';
import type { NbdRequest } from './request.ts';

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

/** Calls waiting; their callers hold the memory, an iSCSI target has 128 for each session. */
const WAITING_MAX = 16_384;
/** How often deadlines are looked at. */
const TICK_MS = 1000;

type Phase = 'starting' | 'ready' | 'replaying' | 'down' | 'failed' | 'closed';
type Waiting = { readonly bornMs: number; readonly done: BlockDone };

/** The calls of one device, from the queue to the answer, over as many connections as it takes. */
export class NbdEngine {
  readonly #options: EngineOptions;
  readonly #clock: Clock;
  readonly #requests: RequestLedger;
  readonly #link: NbdLink;
  #phase: Phase = 'starting';
  #info: NbdExport | null = null;
  #failure: BlockError | null = null;
  #started: ((end: ConnectionEnd | null) => void) | null = null;
  #quietSinceMs = 0;
  #tick: Cancel | null = null;
  #queuedFlush: { readonly request: NbdRequest; readonly waiters: BlockDone[] } | null = null;
  #reopens: Waiting[] = [];
  #closing: Waiting[] = [];
  #closeError: BlockError | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#requests = new RequestLedger(options.unflushedBytesMax);
    const { dial, clock, exportName, connectMs } = options;
    this.#link = new NbdLink(
      { dial, clock, exportName, connectMs },
      {
        awaited: (high, low) => this.#requests.find(high, low),
        finished: (request, error, text) => this.#finished(request, error, text),
        up: (info) => this.#up(info),
        down: (end) => this.#down(end),
      },
    );
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
    return this.#requests.unflushedBytes;
  }

  /** Makes the first connection; answers its end when there is none. */
  start(answer: (end: ConnectionEnd | null) => void): void {
    this.#started = answer;
    this.#link.connect();
  }

  /** Takes a request; its `done` hears of the end exactly once, never before this returns. */
  submit(request: NbdRequest): void {
    const answer: BlockDone = (error) => {
      this.#answer(request, error);
    };
    if (this.#refused(answer)) return;
    this.#requests.push(request);
    this.#watch();
    this.#pump();
  }

  /** A flush; those that wait together share one. */
  flush(done: BlockDone): void {
    if (this.#refused(done)) return;
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
    if (this.#refused(done)) return;
    this.#hold(this.#reopens, done);
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
    this.#hold(this.#closing, done);
  }

  #hold(list: Waiting[], done: BlockDone): void {
    list.push({ bornMs: this.#clock.monotonicMs(), done });
    this.#watch();
    queueMicrotask(() => {
      this.#pump();
    });
  }

  /** Answers a call that cannot be taken; false when it can. */
  #refused(done: BlockDone): boolean {
    const refusal = this.#failure ?? this.#refusal();
    if (refusal === null) return false;
    queueMicrotask(() => {
      done(refusal);
    });
    return true;
  }

  #refusal(): BlockError | null {
    if (this.#closing.length > 0) return goneError('the disk is closed');
    if (this.#requests.waiting >= WAITING_MAX)
      return goneError('too many calls wait for the server');
    const away = this.#link.downMs >= this.#options.holdMs;
    return away ? goneError('the NBD server cannot be reached') : null;
  }

  #pump(): void {
    while (this.#phase === 'ready' || this.#phase === 'replaying') {
      if (this.#requests.full) return;
      const next = this.#phase === 'replaying' ? this.#requests.nextReplay() : this.#next();
      if (next === null) break;
      this.#send(next);
    }
    if (this.#requests.atServer > 0) return;
    if (this.#phase === 'replaying' && this.#requests.replayLeft === 0) {
      this.#phase = 'ready';
      this.#pump();
    } else if (this.#closing.length > 0) {
      this.#finishClosing();
    } else if (this.#reopens.length > 0 && this.#phase === 'ready') {
      this.#changeConnection();
    }
  }

  #next(): NbdRequest | null {
    if (this.#reopens.length > 0 && this.#closing.length === 0) return null;
    return this.#requests.next(this.durability, this.#clock.monotonicMs());
  }

  #flushRequest(done: BlockDone): NbdRequest {
    return flushRequest(this.#clock.monotonicMs(), done);
  }

  #send(request: NbdRequest): void {
    const now = this.#clock.monotonicMs();
    if (this.#requests.atServer === 0) this.#quietSinceMs = now;
    if (request === this.#queuedFlush?.request) this.#queuedFlush = null;
    this.#requests.sent(request, now);
    this.#link.send(request.frame);
  }

  #finished(awaited: Awaited, error: number, text: string): void {
    const request = awaited as NbdRequest;
    if (error === WireError.ESHUTDOWN) {
      if (this.#options.readOnly) this.#link.giveUp('the server shuts down');
      else this.#fail('the server shuts down, or has given the export to another');
      return;
    }
    this.#requests.arrived(request);
    if (request.mutates) this.#mutated(request, error, text);
    else if (request.command === Command.FLUSH) this.#flushed(request, error, text);
    else this.#answer(request, error === 0 ? null : errorOf(request, error, text));
    this.#pump();
  }

  #mutated(request: NbdRequest, error: number, text: string): void {
    if (error === 0) {
      this.#requests.taken(request, this.durability === 'fua');
      this.#answer(request, null);
      return;
    }
    this.#requests.refused(request);
    if (request.answered) this.#fail(`the server refused to write again: ${text} (${error})`);
    else this.#answer(request, errorOf(request, error, text));
  }

  #flushed(request: NbdRequest, error: number, text: string): void {
    if (error === 0) {
      this.#requests.flushed(request);
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

  #up(info: NbdExport): void {
    const before = this.#info;
    const { readOnly, log } = this.#options;
    const change = before === null ? null : changeForWorse(before, info, readOnly);
    if (change !== null) {
      this.#fail(`the export came back ${change}`);
      return;
    }
    this.#info = info;
    if (before !== null) log.info({}, 'NBD server is back');
    this.#phase = this.#requests.beginReplay() ? 'replaying' : 'ready';
    const started = this.#started;
    this.#started = null;
    started?.(null);
    for (const waiting of this.#reopens.splice(0)) waiting.done(null);
    this.#pump();
  }

  #down(end: ConnectionEnd): void {
    if (this.#phase === 'failed' || this.#phase === 'closed') return;
    const started = this.#started;
    if (started !== null) {
      this.#started = null;
      this.#phase = 'failed';
      this.#failure = goneError(end.reason);
      started(end);
      return;
    }
    if (end.by === 'us' && this.#requests.writesAtServer) {
      this.#fail(`given up with writes under way: ${end.reason}`);
      return;
    }
    if (this.#requests.lossy) {
      this.#fail(`unflushed writes may be lost with the connection: ${end.reason}`);
      return;
    }
    this.#phase = 'down';
    this.#options.log.warn({ reason: end.reason }, 'NBD server lost, connecting again');
    this.#requests.takeBack();
    this.#link.connectLater();
    if (this.#closing.length > 0) this.#pump();
  }

  /** Nothing is under way: flush what the server could lose, then come again. */
  #changeConnection(): void {
    if (this.durability === 'flush' && this.#requests.unflushed > 0) {
      this.#send(this.#flushRequest(() => undefined));
      return;
    }
    this.#phase = 'down';
    this.#link.connectAnew();
  }

  #fail(reason: string): void {
    if (this.#phase === 'failed' || this.#phase === 'closed') return;
    this.#phase = 'failed';
    this.#failure ??= failedError(reason);
    this.#options.log.error({ reason }, 'NBD disk failed for good');
    this.#link.end(false);
    this.#letGo(this.#failure);
  }

  /** Ends everything that waits with `error`. */
  #letGo(error: BlockError): void {
    this.#tick?.();
    this.#tick = null;
    for (const request of this.#requests.takeAll()) this.#answer(request, error);
    for (const waiting of this.#reopens.splice(0)) waiting.done(error);
    for (const waiting of this.#closing.splice(0)) waiting.done(error);
  }

  /** Called while closing, when nothing is at the server. */
  #finishClosing(): void {
    const { waiting, owesWrites, unflushed } = this.#requests;
    if (waiting > 0 || owesWrites || this.#phase === 'replaying') return;
    if (unflushed > 0 && this.durability === 'flush' && this.#closeError === null) {
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
    this.#link.end(true);
    this.#letGo(this.#failure);
    for (const waiter of waiters) waiter.done(error);
  }

  #watch(): void {
    this.#tick ??= this.#clock.after(TICK_MS, () => {
      this.#tick = null;
      this.#onTick();
    });
  }

  #onTick(): void {
    const now = this.#clock.monotonicMs();
    const { holdMs, stallMs } = this.#options;
    const requests = this.#requests;
    const isLate: IsLate = (sinceMs) => now - sinceMs >= holdMs;
    if (requests.hasOverdueWrite(isLate)) {
      this.#fail(`no answer to a write within ${holdMs} ms`);
      return;
    }
    const heardMs = Math.max(this.#link.heardMs, this.#quietSinceMs);
    const silent = requests.atServer > 0 && now - heardMs >= stallMs;
    // Writes under way: wait for them as long as may be, giving up costs the disk.
    if (silent && !requests.writesAtServer) this.#link.giveUp('the server is silent');
    this.#expire(isLate);
    const busy = requests.waiting + requests.atServer > 0;
    const ending = this.#closing.length + this.#reopens.length > 0;
    const unsure = this.#phase !== 'ready' && requests.unflushed > 0;
    if (this.#phase !== 'closed' && (busy || ending || unsure)) this.#watch();
  }

  /** Answers what has waited too long. What it stood for is not sent later. */
  #expire(isLate: IsLate): void {
    const gone = goneError(`the NBD server gave no answer within ${this.#options.holdMs} ms`);
    for (const request of this.#requests.takeLate(isLate)) {
      if (request === this.#queuedFlush?.request) this.#queuedFlush = null;
      this.#answer(request, gone);
    }
    const reopens = this.#reopens.filter((w) => isLate(w.bornMs));
    this.#reopens = this.#reopens.filter((w) => !isLate(w.bornMs));
    for (const waiting of reopens) waiting.done(gone);
    if (this.#closing.some((w) => isLate(w.bornMs))) {
      this.#endClosing(this.#requests.unflushed > 0 ? gone : this.#closeError);
    }
  }
}
