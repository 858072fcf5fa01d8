import type { BlockDone } from '../device.ts';
import { InFlight } from './in-flight.ts';
import { Command } from './protocol.ts';
import { NbdRequest } from './request.ts';
import { UnflushedWrites } from './unflushed.ts';
import { WaitingRequests } from './waiting.ts';

/** What makes a write durable at an export. */
export type Durability = 'flush' | 'fua' | 'none';

/** Requests at the server: enough to keep 10 GbE busy with 128 KiB each at 1 ms. */
const SLOTS = 128;

/** Whether something that began then has lasted too long. */
export type IsLate = (sinceMs: number) => boolean;

/**
 * Every request of a disk, wherever it is: waiting, at the server, answered but not flushed,
 * waiting to be sent again. Knows what may be sent next and what is owed; decides nothing about
 * connections.
 */
export class RequestLedger {
  readonly #waiting = new WaitingRequests();
  readonly #inFlight = new InFlight(SLOTS);
  readonly #unflushed: UnflushedWrites;
  readonly #epochs = new WeakMap<NbdRequest, number>();
  #replay: NbdRequest[] = [];
  #roomFlushes = 0;
  #lossy = false;

  constructor(unflushedBytesMax: number) {
    this.#unflushed = new UnflushedWrites(unflushedBytesMax);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get atServer(): number {
    return this.#inFlight.size;
  }

  get full(): boolean {
    return this.#inFlight.full;
  }

  get unflushedBytes(): number {
    return this.#unflushed.bytes;
  }

  /** Writes that no flush covers. */
  get unflushed(): number {
    return this.#unflushed.size;
  }

  /** True once an unflushed write was forgotten for want of room: no replay can be whole. */
  get lossy(): boolean {
    return this.#lossy;
  }

  /** Some write is neither answered nor refused. */
  get owesWrites(): boolean {
    return this.#unflushed.list().some((r) => !r.answered);
  }

  /** Some write is at the server. */
  get writesAtServer(): boolean {
    return this.#inFlight.list().some((r) => r.mutates);
  }

  push(request: NbdRequest): void {
    this.#waiting.push(request);
  }

  find(serial: number, slot: number): NbdRequest | undefined {
    return this.#inFlight.find(serial, slot);
  }

  /** What may be sent next, in normal times; null: nothing. */
  next(durability: Durability, nowMs: number): NbdRequest | null {
    return this.#waiting.next((write) => this.#roomFor(write, durability, nowMs));
  }

  /** All writes that no flush covers are to be sent again; false when there are none. */
  beginReplay(): boolean {
    this.#replay = this.#unflushed.list();
    return this.#replay.length > 0;
  }

  /** Writes still to be sent again. */
  get replayLeft(): number {
    return this.#replay.length;
  }

  /** The next write to be sent again. */
  nextReplay(): NbdRequest | null {
    const next = this.#replay[0];
    // Sent together, two writes to one place could change their order.
    if (next === undefined || this.#inFlight.list().some((r) => r.overlaps(next))) return null;
    this.#replay.shift();
    return next;
  }

  /** The request goes to the server now. */
  sent(request: NbdRequest, nowMs: number): void {
    request.sentMs = nowMs;
    if (request.mutates) this.#unflushed.add(request);
    if (request.command === Command.FLUSH) {
      this.#epochs.set(request, this.#unflushed.beginFlush());
    }
    this.#inFlight.put(request);
  }

  /** The server has answered it. */
  arrived(request: NbdRequest): void {
    this.#inFlight.remove(request);
  }

  /** The server took a write; with `durable` for good. */
  taken(request: NbdRequest, durable: boolean): void {
    if (durable) this.#unflushed.delete(request);
    else this.#unflushed.taken(request);
  }

  /** The server did not take a write. */
  refused(request: NbdRequest): void {
    this.#unflushed.delete(request);
  }

  /** A flush has succeeded. */
  flushed(request: NbdRequest): void {
    this.#unflushed.flushed(this.#epochs.get(request) ?? 0);
  }

  /**
   * The connection is gone: writes wait to be sent again, the rest goes back where it came from.
   */
  takeBack(): void {
    this.#replay = [];
    const back = this.#inFlight.takeAll().toSorted((a, b) => b.bornMs - a.bornMs);
    for (const request of back) {
      request.rewind();
      if (!request.mutates && !request.answered) this.#waiting.putFirst(request);
    }
  }

  /** A write at the server that has waited too long for its answer. */
  hasOverdueWrite(isLate: IsLate): boolean {
    return this.#inFlight
      .list()
      .some((r) => r.mutates && (isLate(r.sentMs) || (!r.answered && isLate(r.bornMs))));
  }

  /** Gives up what has waited too long and is owed an answer; none of it is sent later. */
  takeLate(isLate: IsLate): NbdRequest[] {
    // In its slot it stays: an answer that still comes finds it, and no memory to write to.
    const sent = this.#inFlight.list().filter((r) => !r.answered && isLate(r.bornMs));
    const unsent = this.#unflushed
      .list()
      .filter((r) => !r.answered && r.slot < 0 && isLate(r.bornMs));
    for (const request of unsent) this.#unflushed.delete(request);
    this.#replay = this.#replay.filter((r) => !unsent.includes(r));
    return [...sent, ...unsent, ...this.#waiting.takeLate((r) => isLate(r.bornMs))];
  }

  /** Ends it all: whatever is here, once or twice. */
  takeAll(): NbdRequest[] {
    const sent = [...this.#inFlight.takeAll(), ...this.#unflushed.list()];
    return [...sent, ...this.#waiting.takeAll()];
  }

  #roomFor(write: NbdRequest, durability: Durability, nowMs: number): boolean {
    const unflushed = this.#unflushed;
    if (unflushed.hasRoomFor(write)) return true;
    if (durability === 'none') {
      while (!unflushed.hasRoomFor(write) && unflushed.dropOldest()) this.#lossy = true;
    } else if (durability === 'flush' && this.#roomFlushes === 0 && unflushed.canFlush) {
      this.#roomFlushes += 1;
      const done = (): void => {
        this.#roomFlushes -= 1;
      };
      this.#waiting.putFirst(flushRequest(nowMs, done));
    }
    return unflushed.hasRoomFor(write);
  }
}

/** A request to flush. */
export function flushRequest(bornMs: number, done: BlockDone): NbdRequest {
  const command = Command.FLUSH;
  return new NbdRequest({ command, flags: 0, offsetBytes: 0, lengthBytes: 0, bornMs, done });
}
