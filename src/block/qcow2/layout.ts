import { Incompatible } from './header.ts';
import type { Header } from './header.ts';
import { has } from './features.ts';
import { SLICE_BYTES } from './limits.ts';

/** The numbers that follow from a header and never change while the image is open. */
export type Layout = {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly extended: boolean;
  /** Subclusters of a cluster: 32 with extended L2 entries, else 1. */
  readonly subclusters: number;
  readonly subclusterBytes: number;
  /** All subclusters of a cluster as a mask. */
  readonly fullMask: number;
  /** Size of an L2 entry: 8, or 16 with subclusters; and in 32-bit words. */
  readonly entryBytes: number;
  readonly entryWords: number;
  readonly entriesPerTable: number;
  readonly sliceBytes: number;
  readonly entriesPerSlice: number;
  readonly slicesPerTable: number;
  readonly refcountOrder: number;
  readonly refcountBits: number;
  readonly refcountMax: number;
  readonly entriesPerRefcountBlock: number;
  readonly compressionType: number;
};

/** Computes the layout of an image. */
export function layoutOf(header: Header): Layout {
  const clusterBytes = 2 ** header.clusterBits;
  const extended = has(header, Incompatible.EXTENDED_L2);
  const entryBytes = extended ? 16 : 8;
  const subclusters = extended ? 32 : 1;
  const sliceBytes = Math.min(SLICE_BYTES, clusterBytes);
  const refcountBits = 2 ** header.refcountOrder;
  return {
    version: header.version,
    clusterBits: header.clusterBits,
    clusterBytes,
    extended,
    subclusters,
    subclusterBytes: clusterBytes / subclusters,
    fullMask: extended ? 0xffffffff : 1,
    entryBytes,
    entryWords: entryBytes / 4,
    entriesPerTable: clusterBytes / entryBytes,
    sliceBytes,
    entriesPerSlice: sliceBytes / entryBytes,
    slicesPerTable: clusterBytes / sliceBytes,
    refcountOrder: header.refcountOrder,
    refcountBits,
    // Counts are kept as numbers; nothing has 2^53 references.
    refcountMax: refcountBits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** refcountBits - 1,
    entriesPerRefcountBlock: (clusterBytes * 8) / refcountBits,
    compressionType: header.compressionType,
  };
}
