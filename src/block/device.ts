import { PolybootError } from '#base/mod.ts';

/**
 * What went wrong below a LUN, in the terms that SCSI needs to choose its sense data.
 *
 * - `io`: EIO; the medium is bad at `offsetBytes`.
 * - `no-space`: ENOSPC or EDQUOT on an allocating write; may succeed later.
 * - `read-only`: the device does not take writes.
 * - `failed`: an earlier flush failed; the device answers nothing until it is opened again.
 * - `gone`: the backend is not reachable (NBD server, removed device).
 */
export type BlockErrorKind = 'io' | 'no-space' | 'read-only' | 'failed' | 'gone';

/** The only error that a `BlockDevice` answers with or throws. */
export class BlockError extends PolybootError {
  readonly kind: BlockErrorKind;
  readonly offsetBytes: number;

  constructor(kind: BlockErrorKind, message: string, offsetBytes: number, options?: ErrorOptions) {
    super(`block-${kind}`, message, options);
    this.kind = kind;
    this.offsetBytes = offsetBytes;
  }
}

/** Called exactly once, never before the call that took it has returned. */
export type BlockDone = (error: BlockError | null) => void;

/** One run of blocks in the same allocation state, for GET LBA STATUS (SBC-3 §5.6). */
export type BlockExtent = { readonly lengthBytes: number; readonly state: 'data' | 'hole' };

/**
 * A disk: bytes at offsets, whole logical blocks only.
 *
 * Callers guarantee (and implementations assert in their slow paths): offsets and lengths are
 * multiples of `blockBytes`, within `sizeBytes`, and the memory stays untouched until the call is
 * answered. The `try` calls are the hot path: they finish at once or do nothing, and never block on
 * a disk. Callback calls run elsewhere and may finish in any order; ordering is the caller's.
 * After a failed flush every call fails with `failed` (durability contract 4: a second fsync that
 * succeeds proves nothing).
 */
export interface BlockDevice {
  /** Changes only by `rescan` and `grow`. */
  readonly sizeBytes: number;
  /** Logical block, 512, 2048 or 4096. */
  readonly blockBytes: number;
  /** What the backend likes best, a multiple of `blockBytes`. */
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
  /** True when `discard` gives space back. */
  readonly canDiscard: boolean;

  /**
   * Reads what is resident. False: would block, read nothing useful; call `read`. Throws
   * BlockError.
   */
  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean;
  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void;

  /**
   * Writes to the page cache. False: would block, wrote nothing; call `write`. Throws BlockError.
   */
  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean;
  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void;

  /** All writes answered before this call are on stable media when it is answered without error. */
  flush(done: BlockDone): void;
  /** Makes the range read as zeros and gives its space back where possible. */
  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void;
  /** Makes the range read as zeros; the space stays allocated where the backend can promise it. */
  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void;
  /**
   * Where data is encrypted: throws the key away, and with it everything that was written.
   * Absent where there is no key.
   */
  cryptoErase?(done: BlockDone): void;
  /**
   * Looks again how large the backend is, and takes a larger size over: answered when `sizeBytes`
   * says it. A smaller one is not believed, blocks that an initiator was promised do not vanish.
   */
  rescan(done: BlockDone): void;
  /**
   * Makes the disk `sizeBytes` large, a multiple of `blockBytes` and no less than it is; what is
   * new reads as zeros. Answered when it is in force and durable. Absent where only the backend's
   * owner can do that (a block device).
   */
  grow?(sizeBytes: number, done: BlockDone): void;
  /** The extent that begins at `offsetBytes`, at most `lengthBytes` long. */
  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent;
  /** Flushes, lets go of locks and files. Idempotent. */
  close(done: BlockDone): void;
}
