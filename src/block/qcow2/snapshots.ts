import { UserError, systemClock } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import { answered } from '../answered.ts';
import { writeBytes } from './file-io.ts';
import { fixCopiedFlags } from './copied-flags.ts';
import type { Engine } from './engine.ts';
import { encodeL1 } from './l1-table.ts';
import { loadStructures } from './load.ts';
import { writeRefcountStructure } from './rebuild.ts';
import { countReferences } from './references.ts';
import type { Roots } from './references.ts';
import { textOf } from './features.ts';
import { L1_BYTES_MAX, SNAPSHOTS_MAX } from './limits.ts';
import { describeSnapshot, encodeSnapshotTable } from './snapshot-table.ts';
import type { SnapshotEntry } from './snapshot-table.ts';
import type { Qcow2Snapshot } from './types.ts';

/*
 * Snapshots, all or nothing (durability contract 6). Every verb runs alone and has these steps:
 *
 * | step                                             | a crash after it leaves               |
 * |--------------------------------------------------|---------------------------------------|
 * | journal and reserve are given back               | the image as it was                   |
 * | new L1, snapshot table, refcounts written, synced| the image as it was, some leaks       |
 * | dirty bit set, synced                            | as it was, refcounts counted at open  |
 * | COPIED flags cleared where shared now, synced    | as it was, flags mended at open       |
 * | THE SECTOR: L1, snapshots, refcounts; synced     | as it shall be, flags mended at open  |
 * | COPIED flags set where no longer shared, synced  | as it shall be                        |
 * | dirty bit cleared, synced; free space given back | as it shall be                        |
 */

const NAME_BYTES_MAX = 1023;

/** Takes a snapshot. Runs alone. Rejects with UserError or BlockError. */
export async function create(engine: Engine, name: string): Promise<Qcow2Snapshot> {
  const { image } = engine;
  const { entries } = image.snapshots;
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length === 0 || bytes.length > NAME_BYTES_MAX || textOf(bytes) !== name) {
    throw new UserError('invalid', 'snapshot-name', {
      what: 'the snapshot cannot have this name',
      why: `a name has 1 to ${NAME_BYTES_MAX} bytes and no control characters`,
    });
  }
  if (entries.length >= SNAPSHOTS_MAX) {
    throw new UserError('conflict', 'snapshots-full', { what: 'the image has too many snapshots' });
  }
  await quiet(engine);
  const takenMs = systemClock.wallMs();
  const { l1 } = image;
  const shared = new Uint8Array(l1.offsets.length);
  const copy = await place(engine, encodeL1(l1.offsets, shared));
  try {
    const entry: SnapshotEntry = {
      l1Offset: copy,
      l1Entries: l1.offsets.length,
      id: Buffer.from(String(nextId(entries))),
      name: bytes,
      seconds: Math.floor(takenMs / 1000),
      nanoseconds: (takenMs % 1000) * 1e6,
      guestClock: 0n,
      vmStateBytes: 0,
      sizeBytes: image.sizeBytes,
      extraTail: new Uint8Array(),
    };
    await switchTo(engine, { snapshots: [...entries, entry] });
    return describeSnapshot(entry, image.sizeBytes);
  } catch (e) {
    await unplace(engine, copy, l1.offsets.length * 8);
    throw e;
  }
}

/** Forgets a snapshot. Runs alone. Rejects with UserError or BlockError. */
export async function remove(engine: Engine, id: string): Promise<void> {
  const entry = find(engine, id);
  await quiet(engine);
  await switchTo(engine, { snapshots: engine.image.snapshots.entries.filter((e) => e !== entry) });
}

/** Makes the disk what it was at a snapshot. Runs alone. Rejects with UserError or BlockError. */
export async function apply(engine: Engine, id: string, blockBytes: number): Promise<void> {
  const { image } = engine;
  const entry = find(engine, id);
  const sizeBytes = entry.sizeBytes ?? image.sizeBytes;
  const { entriesPerTable, clusterBytes } = image.layout;
  // Entries behind the disk hold a virtual machine's state: not part of it.
  const count = Math.ceil(sizeBytes / (entriesPerTable * clusterBytes));
  // A table of its own that is too short for its disk: damage, not a disk of petabytes.
  const short = entry.sizeBytes !== null && entry.l1Entries < count;
  if (sizeBytes === 0 || sizeBytes % blockBytes !== 0 || short || count * 8 > L1_BYTES_MAX) {
    throw new UserError('invalid', 'snapshot-size', {
      what: `the snapshot "${id}" cannot be applied`,
      why: `its disk has ${sizeBytes} bytes`,
    });
  }
  await quiet(engine);
  const bytes = new Uint8Array(count * 8);
  const kept = Math.min(count, entry.l1Entries) * 8;
  await answered((done) => {
    image.file.read(entry.l1Offset, bytes, 0, kept, done);
  });
  // No flags: all of it belongs to the snapshot too.
  for (let n = 0; n < bytes.length; n += 8) bytes[n] = bytes[n]! & 0x7f;
  const offset = await place(engine, bytes);
  try {
    await switchTo(engine, { l1: { offset, entries: count }, sizeBytes });
  } catch (e) {
    await unplace(engine, offset, bytes.length);
    throw e;
  }
}

/** Makes the disk larger. Runs alone. Rejects with UserError or BlockError. */
export async function grow(engine: Engine, sizeBytes: number): Promise<void> {
  const { image, zeroer } = engine;
  const { l1, layout, sector, refcounts, slices, backing } = image;
  const { entriesPerTable, clusterBytes } = layout;
  const before = image.sizeBytes;
  const count = Math.ceil(sizeBytes / (entriesPerTable * clusterBytes));
  if (count > l1.offsets.length) {
    const offsets = new Float64Array(count);
    const copied = new Uint8Array(count);
    offsets.set(l1.offsets);
    copied.set(l1.copied);
    const offset = await place(engine, encodeL1(offsets, copied));
    const old = { start: l1.offset / clusterBytes, bytes: l1.offsets.length * 8 };
    const oldClusters = Math.ceil(old.bytes / clusterBytes);
    await image.sync();
    sector.setL1(offset, count);
    try {
      await sector.write();
    } catch (e) {
      // The next who writes the sector must not switch to a table that nobody keeps up to date.
      sector.setL1(l1.offset, l1.offsets.length);
      await unplace(engine, offset, count * 8);
      throw e;
    }
    await image.sync();
    image.metadata.remove(old.start, oldClusters);
    l1.replace(offset, offsets, copied);
    slices.reset(count * layout.slicesPerTable);
    if (oldClusters > 0) await refcounts.add(old.start, oldClusters, -1);
  }
  // What the backing has behind the old end was not part of this disk, nor is it now.
  const zeroTo = Math.min(sizeBytes, backing?.sizeBytes ?? 0);
  image.sizeBytes = sizeBytes;
  try {
    if (zeroTo > before) await zeroer.zero(before, zeroTo - before, false);
    await zeroTables(engine, before);
    await answered((done) => {
      engine.checkpointer.flush(done);
    });
    sector.sizeBytes = sizeBytes;
    await sector.write();
    await image.sync();
  } catch (e) {
    image.sizeBytes = before;
    sector.sizeBytes = before;
    throw e;
  }
}

/**
 * Zeros what the tables have from `start` to the end of the disk. They may reach behind the disk
 * that was: a machine's memory lies there once QEMU has gone back to a snapshot that holds it.
 */
async function zeroTables(engine: Engine, start: number): Promise<void> {
  const { l1, layout, sizeBytes } = engine.image;
  const tableBytes = layout.entriesPerTable * layout.clusterBytes;
  const end = Math.ceil(sizeBytes / tableBytes);
  for (let index = Math.floor(start / tableBytes); index < end; index++) {
    if (l1.offsets[index] === 0) continue;
    const from = Math.max(start, index * tableBytes);
    const to = Math.min(sizeBytes, (index + 1) * tableBytes);
    if (to > from) await engine.zeroer.zero(from, to - from, false);
  }
}

function find(engine: Engine, id: string): SnapshotEntry {
  const found = engine.image.snapshots.entries.find((e) => textOf(e.id) === id);
  if (found !== undefined) return found;
  throw new UserError('not-found', 'snapshot-missing', {
    what: `the image "${engine.image.name}" has no snapshot "${id}"`,
  });
}

function nextId(entries: readonly SnapshotEntry[]): number {
  const used = entries.map((e) => Number(textOf(e.id))).filter((n) => Number.isSafeInteger(n));
  return Math.max(0, ...used) + 1;
}

/** Gives back the journal and the reserve, so that the counts say exactly what is reachable. */
async function quiet(engine: Engine): Promise<void> {
  await engine.changes.stopJournal();
  await engine.pool.drain();
}

/** Writes a table into clusters of its own and returns where. */
async function place(engine: Engine, bytes: Uint8Array): Promise<number> {
  const { refcounts, layout, file, metadata } = engine.image;
  if (bytes.length === 0) return 0;
  const clusters = Math.ceil(bytes.length / layout.clusterBytes);
  const run = await refcounts.take(clusters, clusters);
  const padded = new Uint8Array(clusters * layout.clusterBytes);
  padded.set(bytes);
  await writeBytes(file, run.start * layout.clusterBytes, padded);
  metadata.add(run.start, run.count);
  return run.start * layout.clusterBytes;
}

async function unplace(engine: Engine, offset: number, length: number): Promise<void> {
  const { refcounts, layout, metadata, failure, readOnly } = engine.image;
  if (offset === 0 || failure !== null || readOnly) return;
  const clusters = Math.ceil(length / layout.clusterBytes);
  metadata.remove(offset / layout.clusterBytes, clusters);
  // If that fails too they leak.
  await refcounts.add(offset / layout.clusterBytes, clusters, -1).catch(() => undefined);
}

type Next = {
  readonly l1?: { readonly offset: number; readonly entries: number };
  readonly sizeBytes?: number;
  readonly snapshots?: readonly SnapshotEntry[];
};

/** The steps of the table above, from the snapshot table on. */
async function switchTo(engine: Engine, next: Next): Promise<void> {
  const { image } = engine;
  const { file, layout, sector, refcounts } = image;
  const l1 = next.l1 ?? { offset: image.l1.offset, entries: image.l1.offsets.length };
  const snapshots = next.snapshots ?? image.snapshots.entries;
  const encoded = encodeSnapshotTable(snapshots);
  const tableOffset = await place(engine, encoded);
  const snapshotTable = { offset: tableOffset, lengthBytes: encoded.length };
  const roots: Roots = { l1, snapshotTable, snapshots, others: [] };
  let flagsTouched = false;
  try {
    const usage = await countReferences(file, layout, roots);
    const structure = await writeRefcountStructure(
      file,
      layout,
      usage,
      async (n) => (await refcounts.take(n, n)).start,
      (start, n) => refcounts.add(start, n, -1),
    );
    const { counts } = structure;
    await image.sync();
    flagsTouched = true;
    sector.setDirty(true);
    await sector.write();
    await image.sync();
    const flags = (mode: 'clear' | 'both'): Promise<number> =>
      fixCopiedFlags(file, layout, l1.offset, l1.entries, counts, { mode });
    await flags('clear');
    await image.sync();
    sector.setL1(l1.offset, l1.entries);
    if (next.sizeBytes !== undefined) sector.sizeBytes = next.sizeBytes;
    sector.setSnapshots(tableOffset, snapshots.length);
    sector.setRefcountTable(structure.tableOffset, structure.tableClusters);
    await sector.write();
    await image.sync();
    await flags('both');
    await image.sync();
    sector.setDirty(false);
    await sector.write();
    await image.sync();
    refcounts.replace(structure.tableOffset, structure.tableClusters, structure.blocks);
    image.snapshots = { ...snapshotTable, entries: snapshots };
    if (next.sizeBytes !== undefined) image.sizeBytes = next.sizeBytes;
    await loadStructures(image, l1.offset, l1.entries);
    await giveBack(engine, counts);
  } catch (e) {
    // From the dirty bit on only an open can tell what is in force.
    if (flagsTouched) image.fail(asBlockError(e));
    else await unplace(engine, tableOffset, encoded.length);
    throw e;
  }
}

function asBlockError(e: unknown): BlockError {
  return e instanceof BlockError ? e : new BlockError('io', String(e), 0, { cause: e });
}

/** Gives the space of clusters that nothing uses back to the file system. */
async function giveBack(engine: Engine, counts: Uint32Array): Promise<void> {
  const { file, layout } = engine.image;
  const end = Math.min(counts.length, Math.ceil(file.sizeBytes / layout.clusterBytes));
  for (let c = 0; c < end; c++) {
    if (counts[c] !== 0) continue;
    const start = c;
    while (c < end && counts[c] === 0) c += 1;
    await answered((done) => {
      file.punch(start * layout.clusterBytes, (c - start) * layout.clusterBytes, done);
    });
  }
}
