import { DecodeError } from '#base/mod.ts';
import { readBytes } from './file-io.ts';
import type { Header } from './header.ts';
import type { Image, SnapshotState } from './image.ts';
import type { ImageFile } from './image-file.ts';
import { decodeL1 } from './l1-table.ts';
import type { Layout } from './layout.ts';
import { HEADER_BYTES_MAX, SNAPSHOT_TABLE_BYTES_MAX } from './limits.ts';
import { decodeSnapshotTable } from './snapshot-table.ts';

/** Reads the refcount table: offsets of blocks, 0 where there is none. Rejects with BlockError. */
export async function loadRefcountTable(
  file: ImageFile,
  header: Header,
  layout: Layout,
): Promise<Float64Array> {
  const length = header.refcountTableClusters * layout.clusterBytes;
  const bytes = await readBytes(file, header.refcountTableOffset, length);
  const view = new DataView(bytes.buffer);
  const table = new Float64Array(length / 8);
  for (let n = 0; n < table.length; n++) {
    table[n] = view.getUint32(n * 8) * 2 ** 32 + view.getUint32(n * 8 + 4);
  }
  return table;
}

/** Reads the snapshot table. Rejects with DecodeError, BlockError. */
export async function loadSnapshots(
  file: ImageFile,
  header: Header,
  layout: Layout,
): Promise<SnapshotState> {
  const { snapshotCount: count, snapshotsOffset: offset } = header;
  if (count === 0) return { offset: 0, lengthBytes: 0, entries: [] };
  const available = Math.max(0, file.sizeBytes - offset);
  const few = await readBytes(file, offset, Math.min(available, HEADER_BYTES_MAX));
  try {
    return { offset, ...decodeSnapshotTable(few, count, layout.clusterBytes) };
  } catch (e) {
    if (!(e instanceof DecodeError) || few.length < HEADER_BYTES_MAX) throw e;
  }
  const all = await readBytes(file, offset, Math.min(available, SNAPSHOT_TABLE_BYTES_MAX));
  return { offset, ...decodeSnapshotTable(all, count, layout.clusterBytes) };
}

/**
 * Takes over the L1 table at `l1Offset` and notes where all structures are. Rejects with
 * BlockError; two structures in one place make the image corrupt.
 */
export async function loadStructures(
  image: Image,
  l1Offset: number,
  l1Entries: number,
): Promise<void> {
  const l1 = decodeL1(await readBytes(image.file, l1Offset, l1Entries * 8));
  image.l1.replace(l1Offset, l1.offsets, l1.copied);
  image.slices.reset(l1Entries * image.layout.slicesPerTable);
  noteStructures(image);
}

/** Fills the metadata map. Throws BlockError `io`, the image marked corrupt. */
export function noteStructures(image: Image): void {
  const { metadata, layout, file, l1, snapshots, refcounts } = image;
  const { clusterBytes } = layout;
  const note = (offset: number, lengthBytes: number, what: string): void => {
    if (lengthBytes === 0) return;
    const count = Math.ceil(lengthBytes / clusterBytes);
    const aligned = offset % clusterBytes === 0;
    if (
      !aligned ||
      offset >= file.sizeBytes ||
      offset + lengthBytes - clusterBytes >= file.sizeBytes
    ) {
      throw image.corrupt(`${what} is not aligned or past the end of the file`, offset);
    }
    if (!metadata.add(offset / clusterBytes, count)) {
      throw image.corrupt(`${what} lies over another structure`, offset);
    }
  };
  metadata.clear();
  note(0, clusterBytes, 'the header');
  note(l1.offset, l1.offsets.length * 8, 'the L1 table');
  const { tableOffset, tableClusters, blocks } = refcounts.structure();
  note(tableOffset, tableClusters * clusterBytes, 'the refcount table');
  for (const block of blocks) if (block !== 0) note(block, clusterBytes, 'a refcount block');
  note(snapshots.offset, snapshots.lengthBytes, 'the snapshot table');
  for (const s of snapshots.entries) note(s.l1Offset, s.l1Entries * 8, "a snapshot's L1 table");
  for (const table of l1.offsets) if (table !== 0) note(table, clusterBytes, 'an L2 table');
}
