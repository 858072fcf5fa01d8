import { invariant } from '#base/mod.ts';
import type { BlockDevice, BlockDone, BlockError, BlockExtent } from '../device.ts';
import { lendFrom } from '../lend.ts';
import type { LendingDevice } from '../lend.ts';
import type { Engine } from './engine.ts';
import { blockErrorFrom } from './error.ts';
import { Kind } from './mapper.ts';
import * as snapshots from './snapshots.ts';
import { describeSnapshot } from './snapshot-table.ts';
import type { Qcow2Snapshot } from './types.ts';

const PAGE_BYTES = 4096;

/**
 * An open qcow2 image: a disk with internal snapshots. `openQcow2` makes it.
 *
 * `tryRead` and `tryWrite` are synchronous on what the page cache holds, also for first writes. A
 * WRITE that was answered survives the death of the process (journal.ts says how), and a flush is
 * durability contract 5 (checkpoint.ts).
 */
export class Qcow2Device implements BlockDevice, LendingDevice {
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly #engine: Engine;
  readonly #ownsBacking: boolean;
  #closing: Promise<BlockError | null> | null = null;

  constructor(engine: Engine, blockBytes: number, ownsBacking: boolean) {
    this.#engine = engine;
    this.#ownsBacking = ownsBacking;
    this.blockBytes = blockBytes;
    const { subclusterBytes } = engine.image.layout;
    this.physicalBlockBytes = Math.max(blockBytes, Math.min(subclusterBytes, PAGE_BYTES));
  }

  get sizeBytes(): number {
    return this.#engine.image.sizeBytes;
  }

  get readOnly(): boolean {
    return this.#engine.image.readOnly;
  }

  get canDiscard(): boolean {
    const { readOnly, layout, backing } = this.#engine.image;
    return !readOnly && (layout.version === 3 || backing === null);
  }

  /** What is broken in the image, in words; null while nothing was found. */
  get corruption(): string | null {
    return this.#engine.image.corruption;
  }

  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    const { failure } = this.#engine.image;
    if (failure !== null) throw failure;
    try {
      return this.#engine.reader.tryRead(offsetBytes, into, at, lengthBytes);
    } catch (e) {
      throw blockErrorFrom(e, offsetBytes);
    }
  }

  /** `LendingDevice.lend`: what lies in one piece in the file or in the base. */
  lend(offsetBytes: number, lengthBytes: number): number {
    const { image, mapper } = this.#engine;
    if (image.failure !== null) return 0;
    try {
      const kind = mapper.atNow(offsetBytes, lengthBytes);
      if (kind === Kind.MISSING || mapper.length < lengthBytes) return 0;
      const { file, backing } = image;
      if (kind === Kind.DATA) return file.lend?.(mapper.host, lengthBytes) ?? 0;
      const below = kind === Kind.BACKING && backing !== null;
      if (!below || offsetBytes + lengthBytes > backing.sizeBytes) return 0;
      return lendFrom(backing, offsetBytes, lengthBytes);
    } catch {
      return 0; // the read that follows says what is wrong
    }
  }

  /** `LendingDevice.lendForWriting`: what is ours already; the tables stay as they are. */
  lendForWriting(offsetBytes: number, lengthBytes: number): number {
    const { image, gate, writer } = this.#engine;
    if (gate.held) return 0;
    try {
      image.assertWritable(offsetBytes);
      const place = writer.place(offsetBytes, lengthBytes);
      return place < 0 ? 0 : (image.file.lendForWriting?.(place, lengthBytes) ?? 0);
    } catch {
      return 0; // the write that follows says what is wrong
    }
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#refused(offsetBytes, lengthBytes, done)) return;
    this.#engine.reader.read(offsetBytes, into, at, lengthBytes, done);
  }

  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    const { image, gate, writer } = this.#engine;
    image.assertWritable(offsetBytes);
    if (gate.held) return false;
    try {
      return writer.tryWrite(offsetBytes, from, at, lengthBytes);
    } catch (e) {
      throw blockErrorFrom(e, offsetBytes);
    }
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#refused(offsetBytes, lengthBytes, done)) return;
    this.#engine.change(offsetBytes, done, (writer) =>
      writer.write(offsetBytes, from, at, lengthBytes),
    );
  }

  flush(done: BlockDone): void {
    if (this.#refused(0, 0, done)) return;
    this.#engine.checkpointer.flush(done);
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    if (this.#refused(offsetBytes, lengthBytes, done)) return;
    this.#engine.change(offsetBytes, done, (_writer, zeroer) =>
      zeroer.zero(offsetBytes, lengthBytes, false),
    );
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    if (this.#refused(offsetBytes, lengthBytes, done)) return;
    this.#engine.change(offsetBytes, done, (_writer, zeroer) =>
      zeroer.zero(offsetBytes, lengthBytes, true),
    );
  }

  /** The size is in the header, which only this program writes while it has the image. */
  rescan(done: BlockDone): void {
    if (this.#refused(0, 0, done)) return;
    queueMicrotask(() => {
      done(null);
    });
  }

  grow(sizeBytes: number, done: BlockDone): void {
    invariant(sizeBytes >= this.sizeBytes && sizeBytes % this.blockBytes === 0, 'a larger size');
    if (this.#refused(0, 0, done)) return;
    this.#engine
      .alone(() => snapshots.grow(this.#engine, sizeBytes))
      .then(
        () => {
          done(null);
        },
        (e: unknown) => {
          done(blockErrorFrom(e, 0));
        },
      );
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    const { image, mapper, reader } = this.#engine;
    if (image.failure !== null) throw image.failure;
    let length = 0;
    let state: BlockExtent['state'] | null = null;
    while (length < lengthBytes) {
      const at = offsetBytes + length;
      const kind = mapper.at(at, lengthBytes - length);
      if (kind === Kind.MISSING) {
        reader.loadSliceSync(at);
        continue;
      }
      if (kind === Kind.BROKEN) throw image.corrupt(mapper.fault, at);
      const part = this.#part(kind, at, mapper.length);
      if (state !== null && part.state !== state) break;
      state = part.state;
      length += part.lengthBytes;
    }
    // Whole blocks: where a block is of both kinds it counts as data.
    const whole = length - (length % this.blockBytes);
    if (whole === length) return { lengthBytes: length, state: state ?? 'hole' };
    if (whole === 0) return { lengthBytes: this.blockBytes, state: 'data' };
    return { lengthBytes: whole, state: state ?? 'hole' };
  }

  /** Snapshots inside the file, oldest first. */
  snapshots(): readonly Qcow2Snapshot[] {
    const { image } = this.#engine;
    return image.snapshots.entries.map((e) => describeSnapshot(e, image.sizeBytes));
  }

  /**
   * Takes a snapshot under a new ID: all or nothing, durable when it resolves. Names may repeat.
   * Rejects with UserError (a name that cannot be, refcounts of one bit) or BlockError.
   */
  createSnapshot(name: string): Promise<Qcow2Snapshot> {
    return this.#engine.alone(() => snapshots.create(this.#engine, name));
  }

  /**
   * Makes the disk what it was at the snapshot `id`, its size too; for a disk that nobody uses.
   * Rejects with UserError not-found or BlockError.
   */
  applySnapshot(id: string): Promise<void> {
    return this.#engine.alone(() => snapshots.apply(this.#engine, id, this.blockBytes));
  }

  /** Forgets the snapshot `id` and frees what only it held. Rejects with UserError, BlockError. */
  deleteSnapshot(id: string): Promise<void> {
    return this.#engine.alone(() => snapshots.remove(this.#engine, id));
  }

  close(done: BlockDone): void {
    this.#closing ??= this.#close();
    void this.#closing.then(done);
  }

  async #close(): Promise<BlockError | null> {
    const error = await this.#engine.close();
    const { backing } = this.#engine.image;
    if (this.#ownsBacking && backing !== null) {
      await new Promise<void>((resolve) => {
        backing.close(() => {
          resolve();
        });
      });
    }
    return error;
  }

  #part(kind: number, at: number, length: number): BlockExtent {
    if (kind === Kind.ZERO) return { lengthBytes: length, state: 'hole' };
    if (kind !== Kind.BACKING) return { lengthBytes: length, state: 'data' };
    const { backing } = this.#engine.image;
    if (backing === null || at >= backing.sizeBytes) return { lengthBytes: length, state: 'hole' };
    return backing.extentAt(at, Math.min(length, backing.sizeBytes - at));
  }

  #refused(offsetBytes: number, lengthBytes: number, done: BlockDone): boolean {
    invariant(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'within the disk');
    const { failure } = this.#engine.image;
    if (failure === null) return false;
    queueMicrotask(() => {
      done(failure);
    });
    return true;
  }
}
