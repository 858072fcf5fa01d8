import type { Entry } from './entry.ts';
import type { Layout } from './layout.ts';

/**
 * What a write of bytes [from, to) of a guest cluster has to do, when it cannot simply go to the
 * place that the entry names. Computed by `plan`; one object is used again and again.
 *
 * With subclusters only those that the write touches are filled up; without, a cluster counts as
 * one subcluster.
 */
export class WritePlan {
  /** The part of the cluster that is written: the caller's bytes and what fills them up. */
  start = 0;
  end = 0;
  /** Masks of the new entry. */
  alloc = 0;
  zero = 0;
  /** The entry's host cluster is ours and is used again. */
  reuse = false;
  /** Allocated subclusters outside of the written part must move to the new host cluster. */
  moves = false;

  plan(layout: Layout, entry: Entry, from: number, to: number): void {
    const { subclusterBytes, clusterBytes, fullMask } = layout;
    if (entry.compressed) {
      this.start = 0;
      this.end = clusterBytes;
      this.alloc = fullMask;
      this.zero = 0;
      this.reuse = false;
      this.moves = false;
      return;
    }
    const first = Math.floor(from / subclusterBytes);
    const last = Math.floor((to - 1) / subclusterBytes);
    const mask = maskOf(first, last);
    this.reuse = entry.host !== 0 && entry.copied;
    const there = this.reuse ? entry.alloc : 0;
    this.start = ((there >>> first) & 1) === 1 ? from : first * subclusterBytes;
    this.end = ((there >>> last) & 1) === 1 ? to : (last + 1) * subclusterBytes;
    this.alloc = (entry.alloc | mask) >>> 0;
    this.zero = (entry.zero & ~mask) >>> 0;
    this.moves = !this.reuse && (entry.alloc & ~mask) !== 0;
    if (this.moves) {
      this.start = 0;
      this.end = clusterBytes;
    }
  }
}

/** The bits `first` to `last`, as an unsigned number. */
export function maskOf(first: number, last: number): number {
  const below = last >= 31 ? 0xffffffff : 2 ** (last + 1) - 1;
  return (below & ~(2 ** first - 1)) >>> 0;
}
