import { UserError } from '#base/mod.ts';
import { writeBytes } from './file-io.ts';
import type { ImageFile } from './image-file.ts';
import type { Layout } from './layout.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from './limits.ts';
import { setRefcount } from './refcount-codec.ts';
import { encodeOffsets } from './refcounts.ts';
import type { Usage } from './references.ts';

/** A refcount structure on disk: blocks and then the table, in a row. */
export type NewStructure = {
  readonly start: number;
  readonly clusters: number;
  readonly tableOffset: number;
  readonly tableClusters: number;
  readonly blocks: Float64Array;
  /** References of all clusters, the structure's own included. */
  readonly counts: Uint32Array;
};

/**
 * Writes a whole new refcount structure that says what `usage` counted. Nothing points to it yet:
 * one sector of the header will. `place(n)` finds n clusters in a row that nothing uses now nor
 * after; `release` takes back such a place.
 * Rejects with UserError (refcounts too narrow), BlockError.
 */
export async function writeRefcountStructure(
  file: ImageFile,
  layout: Layout,
  usage: Usage,
  place: (clusters: number) => Promise<number>,
  release: (start: number, clusters: number) => Promise<void>,
): Promise<NewStructure> {
  const { clusterBytes, entriesPerRefcountBlock: perBlock } = layout;
  let reach = usage.end;
  for (;;) {
    const size = sizeFor(layout, reach);
    const clusters = size.blocks + size.tableClusters;
    const start = await place(clusters);
    if (start + clusters > size.blocks * perBlock) {
      await release(start, clusters);
      reach = Math.max(reach + 1, start + clusters);
      continue;
    }
    const counts = new Uint32Array(Math.max(usage.counts.length, start + clusters));
    counts.set(usage.counts);
    for (let c = start; c < start + clusters; c++) counts[c] = counts[c]! + 1;
    const bytes = encodeCounts(layout, counts, size.blocks);
    const table = new Float64Array((size.tableClusters * clusterBytes) / 8);
    for (let n = 0; n < size.blocks; n++) table[n] = (start + n) * clusterBytes;
    const tableOffset = (start + size.blocks) * clusterBytes;
    await writeBytes(file, start * clusterBytes, bytes);
    await writeBytes(file, tableOffset, encodeOffsets(table));
    return {
      start,
      clusters,
      tableOffset,
      tableClusters: size.tableClusters,
      blocks: table,
      counts,
    };
  }
}

/** Blocks and table that describe `reach` clusters and themselves behind those. */
function sizeFor(layout: Layout, reach: number): { blocks: number; tableClusters: number } {
  const { clusterBytes, entriesPerRefcountBlock: perBlock } = layout;
  let blocks = 1;
  let tableClusters = 1;
  for (let rounds = 0; rounds < 8; rounds++) {
    blocks = Math.ceil((reach + blocks + tableClusters) / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterBytes);
  }
  if (tableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw new UserError('unsupported', 'qcow2-too-large', {
      what: 'the image cannot be described',
      why: 'its refcount table would be larger than 8 MiB',
    });
  }
  return { blocks, tableClusters };
}

function encodeCounts(layout: Layout, counts: Uint32Array, blocks: number): Uint8Array {
  const bytes = new Uint8Array(blocks * layout.clusterBytes);
  for (const [cluster, count] of counts.entries()) {
    if (count === 0) continue;
    if (count > layout.refcountMax) {
      throw new UserError('unsupported', 'qcow2-refcount-bits', {
        what: 'the image cannot have another snapshot',
        why: `its refcounts have ${layout.refcountBits} bits and count to ${layout.refcountMax}`,
        todo: 'make a copy of the image with wider refcounts: qemu-img convert -o refcount_bits=16',
      });
    }
    setRefcount(bytes, cluster, layout.refcountOrder, count);
  }
  return bytes;
}
