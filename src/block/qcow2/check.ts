import { bitmapRanges } from './bitmaps.ts';
import { fixCopiedFlags } from './copied-flags.ts';
import { backingOf, has } from './features.ts';
import { answered } from '../answered.ts';
import { readBytes } from './file-io.ts';
import { HeadSector } from './head-sector.ts';
import { Incompatible } from './header.ts';
import type { Header } from './header.ts';
import type { ImageFile } from './image-file.ts';
import { explained } from './info.ts';
import type { Layout } from './layout.ts';
import { loadRefcountTable, loadSnapshots } from './load.ts';
import { openImageFile, openQcow2On, readHead } from './open.ts';
import { getRefcount } from './refcount-codec.ts';
import { countReferences } from './references.ts';
import type { Roots, Usage } from './references.ts';
import { rebuildRefcounts } from './repair.ts';
import { MemoryDevice } from '../memory.ts';
import type { Qcow2CheckOptions, Qcow2Report } from './types.ts';

const FINDINGS_MAX = 20;

/**
 * Looks through the whole structure of an image: every cluster is counted as often as it is used,
 * flags agree, nothing points outside. With `repair` what is wrong is mended: `leaks` gives back
 * what nothing uses, `all` also counts anew what was counted too low and clears the corrupt bit
 * when nothing is left. An image whose writer died is first brought to its last answered write.
 * Throws UserError (missing, no qcow2, unsupported, in use, too large), EnvironmentError,
 * BlockError, or the signal's reason.
 */
export async function checkQcow2(
  path: string,
  options: Qcow2CheckOptions = {},
): Promise<Qcow2Report> {
  if (options.repair !== undefined) await bringUp(path);
  const file = await openImageFile(path, options.repair === undefined, true);
  try {
    return await checkQcow2On(file, path, options);
  } catch (e) {
    throw explained(path, e);
  } finally {
    await answered((done) => {
      file.close(done);
    });
  }
}

/** `checkQcow2` on an open file, which stays open; without the journal being brought in first. */
export async function checkQcow2On(
  file: ImageFile,
  name: string,
  options: Qcow2CheckOptions = {},
): Promise<Qcow2Report> {
  const found = new Findings();
  const { header, layout, sector } = await readHead(file, name);
  const snapshots = await loadSnapshots(file, header, layout);
  const journal = sector.journalFound();
  const others = await bitmapRanges(file, header, layout, found.error);
  if (journal !== null) others.push(journal);
  const roots: Roots = {
    l1: { offset: header.l1Offset, entries: header.l1Entries },
    snapshotTable: snapshots,
    snapshots: snapshots.entries,
    others,
  };
  const walk = {
    onFault: found.error,
    ...(options.progress === undefined ? {} : { progress: options.progress }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  const usage = await countReferences(file, layout, roots, walk);
  const structural = found.errors;
  const stored = await compareCounts(file, header, layout, usage, found);
  const { offset, entries } = roots.l1;
  const look = { mode: 'look', onWrong: found.error } as const;
  await fixCopiedFlags(file, layout, offset, entries, stored, look);
  const wanted = options.repair;
  const mends =
    (wanted === 'all' &&
      (found.errors > 0 || found.leaks > 0 || sector.dirty || has(header, Incompatible.CORRUPT))) ||
    (wanted === 'leaks' && found.leaks > 0 && found.errors === 0);
  if (!mends) return report(header, layout, usage, found, found.errors, found.leaks);
  const settled = structural === 0 ? Incompatible.CORRUPT : 0;
  await rebuildRefcounts(file, layout, sector, roots, usage, settled);
  return report(header, layout, usage, found, structural, 0);
}

/** Opens and closes the image as a writer: journal and dirty bit are dealt with. */
async function bringUp(path: string): Promise<void> {
  const file = await openImageFile(path, false, true);
  let owned = false;
  try {
    const { header } = await readHead(file, path);
    const sector = new HeadSector(file, header, await readBytes(file, 0, 512));
    const untouched = sector.journalFound() === null;
    if (untouched || sector.dirty || has(header, Incompatible.CORRUPT)) return;
    // Nothing of the backing is read by opening and closing.
    const below = backingOf(header) === null ? null : new MemoryDevice({ sizeBytes: 512 });
    const device = await openQcow2On(file, path, { backing: below });
    owned = true;
    await answered((done) => {
      device.close(done);
    });
  } catch (e) {
    throw explained(path, e);
  } finally {
    if (!owned) {
      await answered((done) => {
        file.close(done);
      });
    }
  }
}

class Findings {
  errors = 0;
  leaks = 0;
  readonly texts: string[] = [];

  readonly error = (text: string): void => {
    this.errors += 1;
    this.#note(text);
  };

  leak(text: string): void {
    this.leaks += 1;
    this.#note(text);
  }

  #note(text: string): void {
    if (this.texts.length < FINDINGS_MAX) this.texts.push(text);
  }
}

/** Compares what is counted with what the refcounts say, and returns what they say. */
async function compareCounts(
  file: ImageFile,
  header: Header,
  layout: Layout,
  usage: Usage,
  found: Findings,
): Promise<Uint32Array> {
  const { clusterBytes, entriesPerRefcountBlock: perBlock, refcountOrder } = layout;
  const counts = usage.counts.slice();
  const add = (cluster: number): boolean => {
    if (cluster >= counts.length) return false;
    counts[cluster] = counts[cluster]! + 1;
    return true;
  };
  const stored = new Uint32Array(counts.length);
  const table = await loadRefcountTable(file, header, layout);
  const first = header.refcountTableOffset / clusterBytes;
  for (let n = 0; n < header.refcountTableClusters; n++) add(first + n);
  for (const [n, block] of table.entries()) {
    if (block === 0) continue;
    const sane = block % clusterBytes === 0 && add(block / clusterBytes);
    if (sane) continue;
    found.error(`the refcount block at byte ${block} is not aligned or past the end`);
    table[n] = 0;
  }
  for (let n = 0; n < Math.max(table.length, Math.ceil(counts.length / perBlock)); n++) {
    const offset = table[n] ?? 0;
    if (offset === 0 && n * perBlock >= counts.length) continue;
    const block = offset === 0 ? null : await readBytes(file, offset, clusterBytes);
    for (let i = 0; i < perBlock; i++) {
      const cluster = n * perBlock + i;
      const said = block === null ? 0 : getRefcount(block, i, refcountOrder);
      const real = counts[cluster] ?? 0;
      if (cluster < stored.length) stored[cluster] = Math.min(said, 0xffffffff);
      if (said === real) continue;
      const what = `cluster ${cluster} counts ${said} and is used ${real} times`;
      if (said > real) found.leak(what);
      else found.error(what);
    }
  }
  if ((counts[0] ?? 0) > 1) found.error('a structure lies over the header');
  return stored;
}

function report(
  header: Header,
  layout: Layout,
  usage: Usage,
  found: Findings,
  errorsLeft: number,
  leaksLeft: number,
): Qcow2Report {
  return {
    errors: errorsLeft,
    leaks: leaksLeft,
    errorsFixed: found.errors - errorsLeft,
    leaksFixed: found.leaks - leaksLeft,
    findings: found.texts,
    allocatedClusters: usage.allocatedClusters,
    compressedClusters: usage.compressedClusters,
    totalClusters: Math.ceil(header.sizeBytes / layout.clusterBytes),
    endBytes: usage.end * layout.clusterBytes,
  };
}
