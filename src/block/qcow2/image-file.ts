import type { BlockDone } from '../device.ts';

/**
 * The file below a qcow2 image: what the engine asks of it and nothing else, so that a simulated
 * file that crashes and replays can stand in for the real one (`openQcow2On`).
 *
 * Rules: offsets and lengths are any whole numbers of bytes; reading past the end gives zeros and
 * writing past it makes the file longer; every failure is a `BlockError` whose `offsetBytes` is of
 * the file. A `done` is called once and never before the call has returned. What was written is
 * seen by every later read at once, and outlives this process; only what was written before a
 * `sync` was asked for outlives a loss of power, and only when that sync succeeds.
 */
export interface ImageFile {
  /**
   * Names the time within which writes that were not synced are still there: on Linux the kernel's
   * boot ID. A simulated file keeps it over a process death and changes it with a power cut: the
   * journal of an image is believed only under the same one. 16 bytes.
   */
  readonly bootId: Uint8Array;
  /** Length of the file, kept up to date over our own writes. */
  readonly sizeBytes: number;

  /** Reads what is in memory; false when that would wait for the disk. Throws BlockError. */
  tryRead(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean;
  /** Reads, and waits for the disk if it must: for small metadata only. Throws BlockError. */
  readSync(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): void;
  read(
    positionBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void;

  /** Writes to memory; false, and nothing written, when that would wait. Throws BlockError. */
  tryWrite(positionBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean;
  /** Writes, and waits if it must: for small metadata only. Throws BlockError. */
  writeSync(positionBytes: number, from: Uint8Array, at: number, lengthBytes: number): void;
  write(
    positionBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void;

  /** fdatasync: all that was written before this call is on stable media when it succeeds. */
  sync(done: BlockDone): void;
  /** Makes the range read as zeros and gives its space back if that works; never fails for that. */
  punch(positionBytes: number, lengthBytes: number, done: BlockDone): void;
  /** `LendingDevice.lend` for a range of the file; absent where nothing can be lent. */
  lend?(positionBytes: number, lengthBytes: number): number;
  /** `LendingDevice.lendForWriting` for a range of the file. */
  lendForWriting?(positionBytes: number, lengthBytes: number): number;
  /** Lets go of locks and the file. Does not sync. */
  close(done: BlockDone): void;
}
