import { invariant } from '#base/mod.ts';
import type { Clock } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDevice, BlockDone, BlockExtent } from '../device.ts';
import type { NbdEngine } from './engine.ts';
import type { ConnectionEnd } from './connection.ts';
import type { NbdExport } from './handshake.ts';
import { HoleMap } from './hole-map.ts';
import { Command, CommandFlag } from './protocol.ts';
import { NbdRequest } from './request.ts';

/** A longer read or write goes as several requests, which the server can work on side by side. */
const PIECE_BYTES_MAX = 1024 * 1024;
/** A server without punched holes writes this much before it answers: well below any deadline. */
const ZERO_PIECE_BYTES_MAX = 32 * 1024 * 1024;
/** One question for the state of a range asks for this much. */
const STATUS_BYTES_MAX = 1024 * 1024 * 1024;
/** A disk whose map needs more questions than this is data from there on. */
const STATUS_QUESTIONS_MAX = 4096;

export type NbdDeviceOptions = {
  readonly engine: NbdEngine;
  readonly clock: Clock;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  /** Asks the server, on another connection, what the export is now. */
  readonly look: (answer: (info: NbdExport | ConnectionEnd) => void) => void;
};

/**
 * An export of an NBD server as a disk. Nothing is resident: the `try` calls answer false. What
 * happens when the server misbehaves or goes away is told in `engine.ts`.
 */
export class NbdDevice implements BlockDevice {
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  readonly #engine: NbdEngine;
  readonly #clock: Clock;
  readonly #look: NbdDeviceOptions['look'];
  readonly #pieceBytes: number;
  readonly #mutationFlags: number;
  #sizeBytes: number;
  #holes: HoleMap;

  /** Takes over a connected engine; `openNbd` makes it. */
  constructor(options: NbdDeviceOptions) {
    const { engine, blockBytes } = options;
    const { info } = engine;
    this.#engine = engine;
    this.#clock = options.clock;
    this.#look = options.look;
    this.blockBytes = blockBytes;
    this.physicalBlockBytes = Math.max(blockBytes, Math.min(info.preferredBlockBytes, 64 * 1024));
    this.readOnly = options.readOnly;
    this.canDiscard = !options.readOnly && info.canZero;
    const longest = Math.min(PIECE_BYTES_MAX, info.payloadBytesMax);
    this.#pieceBytes = longest - (longest % blockBytes);
    this.#mutationFlags = engine.durability === 'fua' ? CommandFlag.FUA : 0;
    this.#sizeBytes = info.sizeBytes;
    this.#holes = new HoleMap(info.sizeBytes);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes of memory held for writes that the server has not made durable. */
  get unflushedBytes(): number {
    return this.#engine.unflushedBytes;
  }

  tryRead(offsetBytes: number, _into: Uint8Array, _at: number, lengthBytes: number): boolean {
    this.#check(offsetBytes, lengthBytes);
    if (this.#engine.failure !== null) throw this.#engine.failure;
    return false;
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#check(offsetBytes, lengthBytes);
    this.#pieces(offsetBytes, lengthBytes, done, (offset, length, from, pieceDone) => {
      const read = { into, at: at + from };
      this.#submit(Command.READ, 0, offset, length, pieceDone, { read });
    });
  }

  tryWrite(offsetBytes: number, _from: Uint8Array, _at: number, lengthBytes: number): boolean {
    this.#check(offsetBytes, lengthBytes);
    if (this.#engine.failure !== null) throw this.#engine.failure;
    if (this.readOnly) throw readOnlyError(offsetBytes);
    return false;
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#refusedWrite(offsetBytes, lengthBytes, done)) return;
    const holes = this.#holes;
    holes.written(offsetBytes, lengthBytes);
    const end: BlockDone = (error) => {
      holes.written(offsetBytes, lengthBytes);
      done(error);
    };
    this.#pieces(offsetBytes, lengthBytes, end, (offset, length, start, pieceDone) => {
      const write = { from, at: at + start };
      this.#submit(Command.WRITE, this.#mutationFlags, offset, length, pieceDone, { write });
    });
  }

  flush(done: BlockDone): void {
    this.#engine.flush(done);
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.#zero(offsetBytes, lengthBytes, 0, done);
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.#zero(offsetBytes, lengthBytes, CommandFlag.NO_HOLE, done);
  }

  rescan(done: BlockDone): void {
    if (this.#engine.failure !== null) {
      this.#engine.reopen(done); // which says so
      return;
    }
    this.#look((found) => {
      if ('reason' in found) {
        done(new BlockError('gone', `the NBD server cannot be asked: ${found.reason}`, 0));
      } else if (found.sizeBytes - (found.sizeBytes % this.blockBytes) <= this.#sizeBytes) {
        this.learnHoles(done);
      } else {
        this.#engine.reopen((error) => {
          if (error === null) this.#grown(done);
          else done(error);
        });
      }
    });
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    this.#check(offsetBytes, lengthBytes);
    return this.#holes.extentAt(offsetBytes, lengthBytes);
  }

  close(done: BlockDone): void {
    this.#engine.close(done);
  }

  /**
   * Asks the server where the export is a hole, for `extentAt`. What it does not tell counts as
   * data, so this never fails; `done` hears when the map is as good as it gets.
   */
  learnHoles(done: BlockDone): void {
    const holes = this.#holes;
    const step = (offset: number, questions: number): void => {
      const left = this.#sizeBytes - offset;
      const canAsk = this.#engine.info.allocationContext !== null;
      if (left <= 0 || questions >= STATUS_QUESTIONS_MAX || !canAsk || holes !== this.#holes) {
        queueMicrotask(() => {
          done(null);
        });
        return;
      }
      const question = holes.ask();
      const length = Math.min(left, STATUS_BYTES_MAX);
      const request = this.#submit(Command.BLOCK_STATUS, 0, offset, length, (error) => {
        const told = holes.answered(question, offset, error === null ? request.extents : null);
        step(told === 0 ? this.#sizeBytes : offset + told, questions + 1);
      });
    };
    step(0, 0);
  }

  #grown(done: BlockDone): void {
    const bytes = this.#engine.info.sizeBytes;
    this.#sizeBytes = Math.max(this.#sizeBytes, bytes - (bytes % this.blockBytes));
    this.#holes = new HoleMap(this.#sizeBytes);
    this.learnHoles(done);
  }

  #zero(offsetBytes: number, lengthBytes: number, flags: number, done: BlockDone): void {
    if (this.#refusedWrite(offsetBytes, lengthBytes, done)) return;
    const zeros = this.canDiscard ? null : Buffer.alloc(Math.min(this.#pieceBytes, lengthBytes));
    const longest = zeros?.length ?? ZERO_PIECE_BYTES_MAX;
    // One after another: a whole disk is many pieces, and each takes the server long.
    const step = (finished: number): void => {
      const length = Math.min(longest, lengthBytes - finished);
      const offset = offsetBytes + finished;
      const next: BlockDone = (error) => {
        if (error !== null || finished + length >= lengthBytes) done(error);
        else step(finished + length);
      };
      if (zeros === null) this.#zeroPiece(offset, length, flags, next);
      else this.write(offset, zeros, 0, length, next);
    };
    step(0);
  }

  #zeroPiece(offset: number, length: number, flags: number, done: BlockDone): void {
    const holes = this.#holes;
    // Zeros that stay allocated are data like any other.
    holes.written(offset, length);
    const question = holes.ask();
    const allFlags = flags | this.#mutationFlags;
    this.#submit(Command.WRITE_ZEROES, allFlags, offset, length, (error) => {
      const hole = error === null && flags === 0;
      holes.answered(question, offset, hole ? [length, 3] : null);
      done(error);
    });
  }

  #pieces(
    offsetBytes: number,
    lengthBytes: number,
    done: BlockDone,
    start: (offset: number, length: number, from: number, done: BlockDone) => void,
  ): void {
    if (lengthBytes <= this.#pieceBytes) {
      start(offsetBytes, lengthBytes, 0, done);
      return;
    }
    let left = Math.ceil(lengthBytes / this.#pieceBytes);
    let first: BlockError | null = null;
    const pieceDone: BlockDone = (error) => {
      left -= 1;
      first ??= error;
      if (left === 0) done(first);
    };
    for (let from = 0; from < lengthBytes; from += this.#pieceBytes) {
      const length = Math.min(this.#pieceBytes, lengthBytes - from);
      start(offsetBytes + from, length, from, pieceDone);
    }
  }

  #submit(
    command: number,
    flags: number,
    offsetBytes: number,
    lengthBytes: number,
    done: BlockDone,
    data: {
      read?: { into: Uint8Array; at: number };
      write?: { from: Uint8Array; at: number };
    } = {},
  ): NbdRequest {
    const bornMs = this.#clock.monotonicMs();
    const fields = { command, flags, offsetBytes, lengthBytes, bornMs, done, ...data };
    const request = new NbdRequest(fields);
    this.#engine.submit(request);
    return request;
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    invariant(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.#sizeBytes, 'within the disk');
    invariant(offsetBytes % this.blockBytes === 0, 'offset in whole blocks');
    invariant(lengthBytes % this.blockBytes === 0, 'length in whole blocks');
  }

  #refusedWrite(offsetBytes: number, lengthBytes: number, done: BlockDone): boolean {
    this.#check(offsetBytes, lengthBytes);
    const failure = this.#engine.failure;
    if (failure === null && !this.readOnly) return false;
    const error = failure ?? readOnlyError(offsetBytes);
    queueMicrotask(() => {
      done(error);
    });
    return true;
  }
}

function readOnlyError(offsetBytes: number): BlockError {
  return new BlockError('read-only', 'the disk is read-only', offsetBytes);
}
