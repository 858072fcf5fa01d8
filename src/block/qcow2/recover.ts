import { answered } from '../answered.ts';
import type { Engine } from './engine.ts';
import { readJournal } from './journal.ts';
import { RecordKind } from './journal-codec.ts';
import type { JournalRecord } from './journal-codec.ts';
import { JOURNAL_HALF_BYTES, RESERVE_CLUSTERS_MAX } from './limits.ts';
import { offsetOf } from './entry.ts';

/**
 * Brings in what the journal of an image tells, left behind by a process that died: changes that
 * were answered but had not reached the tables. Read-only: in memory alone. Else it is written and
 * the journal is taken back, as it is when the journal is of another boot and not believed.
 * Rejects with BlockError.
 */
export async function recoverJournal(engine: Engine): Promise<void> {
  const { image } = engine;
  const { sector, layout, refcounts, readOnly } = image;
  const found = sector.journalFound();
  if (found === null) return;
  const { offset } = found;
  // It may lie past the end: after a loss of power the header can be all that was written of it.
  const fits = offset % layout.clusterBytes === 0 && found.lengthBytes === 2 * JOURNAL_HALF_BYTES;
  const records = fits ? await readJournal(image, offset) : [];
  for (const record of records) await applyRecord(engine, record);
  if (readOnly) return;
  await answered((done) => {
    engine.checkpointer.flush(done);
  });
  sector.setJournal(0, 0);
  await sector.write();
  await answered((done) => {
    engine.checkpointer.flush(done);
  });
  if (!fits) return;
  const start = offset / layout.clusterBytes;
  // After a loss of power its clusters may never have been counted.
  for (let c = start; c < start + engine.journal.clusters; c++) {
    if (!image.metadata.has(c) && (await refcounts.get(c)) > 0) await refcounts.add(c, 1, -1);
  }
  await releaseReserved(engine, records);
}

async function applyRecord(engine: Engine, record: JournalRecord): Promise<void> {
  const { image, journal } = engine;
  const { layout, slices, l1, metadata } = image;
  if (record.kind === RecordKind.TABLE) {
    const offset = offsetOf(record.hi, record.lo);
    if (record.index >= l1.offsets.length) return;
    const old = l1.offsets[record.index]!;
    if (old === offset) return;
    if (offset % layout.clusterBytes !== 0 || !metadata.add(offset / layout.clusterBytes)) {
      throw image.corrupt('the journal names an L2 table where none can be', offset);
    }
    if (old !== 0) metadata.remove(old / layout.clusterBytes);
    l1.set(record.index, offset, journal.epoch);
    return;
  }
  if (record.kind !== RecordKind.ENTRY) return;
  const cluster = record.index;
  const slice = Math.floor(cluster / layout.entriesPerSlice);
  const table = Math.floor(slice / layout.slicesPerTable);
  if ((l1.offsets[table] ?? 0) === 0) return;
  if (slices.find(slice) === undefined) {
    await engine.reader.loadSlice(cluster * layout.clusterBytes);
  }
  const words = slices.find(slice);
  if (words === undefined) return;
  const at = (cluster - slice * layout.entriesPerSlice) * layout.entryWords;
  words[at] = record.hi;
  words[at + 1] = record.lo;
  if (layout.extended) {
    words[at + 2] = record.bitmapHi;
    words[at + 3] = record.bitmapLo;
  }
  slices.change(slice, journal.epoch);
}

/** Clusters that were reserved and that no record uses go back to the free ones. */
async function releaseReserved(engine: Engine, records: readonly JournalRecord[]): Promise<void> {
  const { refcounts, layout } = engine.image;
  const used = new Set<number>();
  const reserved = new Set<number>();
  for (const r of records) {
    if (r.kind === RecordKind.RESERVED) {
      if (r.lo > RESERVE_CLUSTERS_MAX) continue;
      for (let c = r.index; c < r.index + r.lo; c++) reserved.add(c);
    } else {
      used.add(Math.floor(offsetOf(r.hi, r.lo) / layout.clusterBytes));
    }
  }
  for (const c of reserved) {
    if (!used.has(c) && (await refcounts.get(c)) === 1) await refcounts.add(c, 1, -1);
  }
}
