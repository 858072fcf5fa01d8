import { BlockError } from '../device.ts';
import type { BlockDevice } from '../device.ts';
import { syncFile } from './file-io.ts';
import type { HeadSector } from './head-sector.ts';
import { Incompatible } from './header.ts';
import type { ImageFile } from './image-file.ts';
import type { L1Table } from './l1-table.ts';
import type { Layout } from './layout.ts';
import type { MetadataMap } from './metadata-map.ts';
import type { Refcounts } from './refcounts.ts';
import type { SliceCache } from './slice-cache.ts';
import type { SnapshotEntry } from './snapshot-table.ts';

/** Snapshots of the image and where their table lies. */
export type SnapshotState = {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly entries: readonly SnapshotEntry[];
};

/** What all parts of an open image share. */
export class Image {
  readonly name: string;
  readonly file: ImageFile;
  readonly layout: Layout;
  readonly sector: HeadSector;
  readonly l1: L1Table;
  readonly slices: SliceCache;
  readonly metadata: MetadataMap;
  readonly refcounts: Refcounts;
  readonly backing: BlockDevice | null;
  snapshots: SnapshotState;
  sizeBytes: number;
  /** Set by the opener, or for good once the structure was found broken. */
  readOnly: boolean;
  /** Why every call fails: an earlier flush failed, or the image is closed. */
  failure: BlockError | null = null;
  /** What was found broken, for people; null while nothing was. */
  corruption: string | null = null;
  /** Resolves when the corrupt bit was written, or could not be. */
  marked: Promise<void> = Promise.resolve();

  constructor(parts: {
    readonly name: string;
    readonly file: ImageFile;
    readonly layout: Layout;
    readonly sector: HeadSector;
    readonly l1: L1Table;
    readonly slices: SliceCache;
    readonly metadata: MetadataMap;
    readonly refcounts: Refcounts;
    readonly backing: BlockDevice | null;
    readonly snapshots: SnapshotState;
    readonly sizeBytes: number;
    readonly readOnly: boolean;
  }) {
    this.name = parts.name;
    this.file = parts.file;
    this.layout = parts.layout;
    this.sector = parts.sector;
    this.l1 = parts.l1;
    this.slices = parts.slices;
    this.metadata = parts.metadata;
    this.refcounts = parts.refcounts;
    this.backing = parts.backing;
    this.snapshots = parts.snapshots;
    this.sizeBytes = parts.sizeBytes;
    this.readOnly = parts.readOnly;
  }

  /**
   * The structure is broken at `offset` of the file: nothing is written any more but the corrupt
   * bit, so that every other program sees it too (QEMU's test 060). Returns what to throw.
   */
  corrupt(why: string, offset: number): BlockError {
    const message = `the image "${this.name}" is corrupt: ${why} (at byte ${offset})`;
    if (this.corruption === null) {
      this.corruption = message;
      if (!this.readOnly) {
        this.sector.setIncompatible(Incompatible.CORRUPT, true);
        // If that cannot be written either, the next opener finds the damage by itself.
        this.marked = this.sector.write().catch(() => undefined);
      }
      this.readOnly = true;
    }
    return new BlockError('io', message, 0);
  }

  /** A flush failed: what it lost is not known, so nothing is answered any more (contract 4). */
  fail(cause: BlockError): void {
    this.failure ??= new BlockError('failed', 'an earlier flush failed', 0, { cause });
  }

  /** Syncs the file; one that fails fails the disk for good. Rejects with BlockError. */
  async sync(): Promise<void> {
    try {
      await syncFile(this.file);
    } catch (e) {
      const error = e instanceof BlockError ? e : new BlockError('io', String(e), 0, { cause: e });
      this.fail(error);
      throw error;
    }
    // Linux tells of lost pages once: a sync beside the one that was told knows nothing of them.
    if (this.failure?.kind === 'failed') throw this.failure;
  }

  /** Throws when the disk cannot be written. */
  assertWritable(offsetBytes: number): void {
    if (this.failure !== null) throw this.failure;
    if (!this.readOnly) return;
    const why = this.corruption ?? 'the disk is read-only';
    throw new BlockError('read-only', why, offsetBytes);
  }
}
