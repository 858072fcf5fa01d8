import { messageOf } from '#base/mod.ts';
import { BlockError, lendForWritingFrom, lendFrom } from '#block/mod.ts';
import type { BlockDevice, BlockDone, BlockExtent } from '#block/mod.ts';
import { SerialQueue } from './serial-queue.ts';

/** `hold`: what comes waits until the gate opens. `refuse`: it fails with `gone`. */
export type FenceMode = 'hold' | 'refuse';

/** The gate did not let an operation through: the device has not heard of it, nothing is lost. */
export class GateRefusal extends BlockError {}

/** What waits at a shut gate: called once, with null to go on, or with why not. */
type Waiting = { readonly owner: object | null; readonly go: (error: BlockError | null) => void };

/**
 * The one way from a logical unit to its device. It can be shut: then what is on its way to the
 * device comes to its end, what comes later waits (or is refused), and meanwhile the device belongs
 * to one piece of work alone, which may even put another device in its place.
 *
 * Open it costs a call and a comparison. `try` calls finish at once, so only the callback calls are
 * counted.
 */
export class GateDevice implements BlockDevice {
  #inner: BlockDevice;
  #mode: 'open' | FenceMode = 'open';
  readonly #fences = new SerialQueue();
  /** Operations that the device has not answered, or that wait; each an object of its own. */
  readonly #underWay = new Set<object>();
  readonly #watchers: { readonly pending: Set<object>; readonly quiet: () => void }[] = [];
  #waiting: Waiting[] = [];
  #running = 0;
  #idle: (() => void) | null = null;
  readonly #changed: () => void;

  /** `changed` is told when the gate was shut or opened. */
  constructor(inner: BlockDevice, changed: () => void = () => undefined) {
    this.#inner = inner;
    this.#changed = changed;
  }

  /** The device behind the gate. */
  get device(): BlockDevice {
    return this.#inner;
  }

  /** Shut: operations wait or are refused. */
  get shut(): boolean {
    return this.#mode !== 'open';
  }

  /** How many operations wait for the gate to open. */
  get waiting(): number {
    return this.#waiting.length;
  }

  get sizeBytes(): number {
    return this.#inner.sizeBytes;
  }

  get blockBytes(): number {
    return this.#inner.blockBytes;
  }

  get physicalBlockBytes(): number {
    return this.#inner.physicalBlockBytes;
  }

  get readOnly(): boolean {
    return this.#inner.readOnly;
  }

  get canDiscard(): boolean {
    return this.#inner.canDiscard;
  }

  /**
   * Shuts the gate, waits until the device is quiet, and gives it to `work` alone; then opens it.
   * One fence after the other. Settles as `work` does.
   */
  fence<T>(mode: FenceMode, work: (device: BlockDevice) => Promise<T>): Promise<T> {
    return this.#fences.run(async () => {
      this.#mode = mode;
      this.#changed();
      try {
        await new Promise<void>((resolve) => {
          if (this.#running === 0) resolve();
          else this.#idle = resolve;
        });
        return await work(this.#inner);
      } finally {
        this.#open();
      }
    });
  }

  /** Puts another device behind the gate: only from within a fence. */
  replace(device: BlockDevice): void {
    this.#inner = device;
  }

  /**
   * Calls `go` when the gate is open, maybe at once; with an error when it is refused, or cancelled
   * by its `owner`.
   */
  whenOpen(owner: object | null, go: (error: BlockError | null) => void): void {
    if (this.#mode === 'open') go(null);
    else if (this.#mode === 'hold') this.#waiting.push({ owner, go });
    else queueMicrotask(() => go(refused('the disk belongs to another piece of work')));
  }

  /** Gives up what waits for an owner. */
  cancel(owner: object): void {
    const cancelled = this.#waiting.filter((w) => w.owner === owner);
    if (cancelled.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => w.owner !== owner);
    for (const w of cancelled) w.go(refused('given up'));
  }

  /** Calls `quiet` when every operation that is now under way (or waits) has come to its end. */
  settled(quiet: () => void): void {
    if (this.#underWay.size === 0) quiet();
    else this.#watchers.push({ pending: new Set(this.#underWay), quiet });
  }

  tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.#mode === 'open' && this.#inner.tryRead(offset, into, at, lengthBytes);
  }

  /** An address in the page cache that is good until this turn of the event loop ends; 0: none. */
  lend(offset: number, lengthBytes: number): number {
    return this.#mode === 'open' ? lendFrom(this.#inner, offset, lengthBytes) : 0;
  }

  /** The same for writing to. */
  lendForWriting(offset: number, lengthBytes: number): number {
    return this.#mode === 'open' ? lendForWritingFrom(this.#inner, offset, lengthBytes) : 0;
  }

  read(offset: number, into: Uint8Array, at: number, length: number, done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.read(offset, into, at, length, leave);
    });
  }

  tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.#mode === 'open' && this.#inner.tryWrite(offset, from, at, lengthBytes);
  }

  write(offset: number, from: Uint8Array, at: number, length: number, done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.write(offset, from, at, length, leave);
    });
  }

  flush(done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.flush(leave);
    });
  }

  discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.discard(offset, lengthBytes, leave);
    });
  }

  writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.writeZeroes(offset, lengthBytes, leave);
    });
  }

  rescan(done: BlockDone): void {
    this.#pass(done, (device, leave) => {
      device.rescan(leave);
    });
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    return this.#inner.extentAt(offsetBytes, lengthBytes);
  }

  close(done: BlockDone): void {
    this.#inner.close(done);
  }

  #pass(done: BlockDone, start: (device: BlockDevice, leave: BlockDone) => void): void {
    const operation = {};
    this.#underWay.add(operation);
    this.whenOpen(null, (refusal) => {
      if (refusal !== null) {
        this.#end(operation);
        done(refusal);
        return;
      }
      this.#running += 1;
      const leave: BlockDone = (error) => {
        this.#running -= 1;
        this.#end(operation);
        done(error);
        if (this.#running === 0 && this.#idle !== null) this.#becameIdle();
      };
      try {
        start(this.#inner, leave);
      } catch (e) {
        // Were it never answered, its command and session would never come to an end.
        queueMicrotask(() => leave(thrownError(e)));
      }
    });
  }

  #end(operation: object): void {
    this.#underWay.delete(operation);
    if (this.#watchers.length === 0) return;
    for (const w of this.#watchers) w.pending.delete(operation);
    const over = this.#watchers.filter((w) => w.pending.size === 0);
    for (const w of over) {
      this.#watchers.splice(this.#watchers.indexOf(w), 1);
      w.quiet();
    }
  }

  #becameIdle(): void {
    const idle = this.#idle;
    this.#idle = null;
    idle?.();
  }

  #open(): void {
    this.#mode = 'open';
    this.#changed();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const w of waiting) w.go(null);
  }
}

/** What a device threw that should have answered. */
function thrownError(e: unknown): BlockError {
  return e instanceof BlockError ? e : new BlockError('io', messageOf(e), 0, { cause: e });
}

function refused(why: string): GateRefusal {
  return new GateRefusal('gone', why, 0);
}
