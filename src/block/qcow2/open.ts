import { close, constants, fstat, open } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { promisify } from 'node:util';
import { UserError } from '#base/mod.ts';
import { blockDeviceGeometry, lockImage, supportsNowait } from '#os/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDevice } from '../device.ts';
import { fileSystemOf, residencyOn } from '../file-system.ts';
import { Qcow2Device } from './device.ts';
import { Engine } from './engine.ts';
import { backingOf, has, refuseUnsupported } from './features.ts';
import { FdFile } from './fd-file.ts';
import { answered } from '../answered.ts';
import { readBytes, syncFile } from './file-io.ts';
import { HeadSector } from './head-sector.ts';
import { Incompatible, decodeHeader } from './header.ts';
import type { Header } from './header.ts';
import { Image } from './image.ts';
import type { ImageFile } from './image-file.ts';
import { explained } from './info.ts';
import { L1Table } from './l1-table.ts';
import { layoutOf } from './layout.ts';
import type { Layout } from './layout.ts';
import { CACHE_BYTES_DEFAULT, HEADER_BYTES_MAX } from './limits.ts';
import { loadRefcountTable, loadSnapshots, noteStructures } from './load.ts';
import { MetadataMap } from './metadata-map.ts';
import { recoverJournal } from './recover.ts';
import { countReferences } from './references.ts';
import { Refcounts } from './refcounts.ts';
import { rebuildRefcounts } from './repair.ts';
import { SliceCache } from './slice-cache.ts';
import type { Qcow2Options } from './types.ts';

const openFd = promisify(open);
const closeFd = promisify(close);
const statFd = promisify(fstat);
const BLOCK_SIZES: readonly number[] = [512, 2048, 4096];

/**
 * Opens the qcow2 image at `path` and locks it as QEMU does: exclusively for writing, shared for
 * reading. An image that a process left behind in the middle of its work is mended first. One with
 * the corrupt bit is opened read-only.
 * Throws UserError (missing, no qcow2, unsupported, in use, a backing that is needed or not wanted)
 * or EnvironmentError.
 */
export async function openQcow2(path: string, options: Qcow2Options = {}): Promise<Qcow2Device> {
  const file = await openImageFile(path, options.readOnly ?? false, options.lock ?? true);
  try {
    return await openQcow2On(file, path, options);
  } catch (e) {
    await answered((done) => {
      file.close(done);
    });
    throw e;
  }
}

/** Opens and locks a file as an `ImageFile`. Throws UserError or EnvironmentError. */
export async function openImageFile(
  path: string,
  readOnly: boolean,
  lock: boolean,
): Promise<ImageFile> {
  try {
    // Look before opening: opening a FIFO or a tape for a look can already do something.
    refuseStranger(path, await stat(path));
    const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
    const fd = await openFd(path, access | constants.O_NONBLOCK);
    try {
      const stats = await statFd(fd);
      refuseStranger(path, stats);
      if (lock) lockImage(fd, readOnly ? 'shared' : 'exclusive');
      const sizeBytes = stats.isBlockDevice() ? blockDeviceGeometry(fd).sizeBytes : stats.size;
      const fileSystem = await fileSystemOf(path, stats);
      const residency = residencyOn(fileSystem, supportsNowait(fd));
      const writesByAddress = !readOnly && fileSystem !== 'other';
      return new FdFile({ fd, sizeBytes, residency, locked: lock, writesByAddress });
    } catch (e) {
      await closeFd(fd);
      throw e;
    }
  } catch (e) {
    throw explained(path, e);
  }
}

/**
 * Opens the image in `file`, which the device owns from then on (not when this rejects). `name` is
 * for messages. Throws UserError, EnvironmentError, or BlockError when the file cannot be read.
 */
export async function openQcow2On(
  file: ImageFile,
  name: string,
  options: Qcow2Options = {},
): Promise<Qcow2Device> {
  try {
    // A writer that was killed may have left what only the page cache has, its size too: whoever
    // sees it builds on it, so it must be there after a power cut.
    if (options.readOnly !== true) await syncFile(file);
    const { header, layout, sector } = await readHead(file, name);
    const backing = backingFor(name, header, options.backing ?? null);
    const blockBytes = blockBytesFor(name, header, layout, backing, options.blockBytes);
    const readOnly = (options.readOnly ?? false) || has(header, Incompatible.CORRUPT);
    let current = header;
    const dirty = sector.dirty;
    if (!readOnly && dirty) {
      current = await mend(file, name, header, layout, sector, options.repair ?? true);
    }
    const cacheBytes = options.cacheBytes ?? CACHE_BYTES_DEFAULT;
    const image = await buildImage(
      { file, name, header: current, layout, sector, backing, readOnly },
      cacheBytes,
    );
    const engine = new Engine(image);
    if (has(header, Incompatible.CORRUPT)) image.corruption = `the image "${name}" is corrupt`;
    await settleIn(engine, current, dirty);
    return new Qcow2Device(engine, blockBytes, options.ownsBacking ?? false);
  } catch (e) {
    throw explained(name, e);
  }
}

/** Reads and judges the header. Throws DecodeError, UserError, BlockError. */
export async function readHead(
  file: ImageFile,
  name: string,
): Promise<{ header: Header; layout: Layout; sector: HeadSector }> {
  const bytes = await readBytes(file, 0, Math.min(file.sizeBytes, HEADER_BYTES_MAX));
  const header = decodeHeader(bytes, file.sizeBytes);
  refuseUnsupported(name, header);
  return { header, layout: layoutOf(header), sector: new HeadSector(file, header, bytes) };
}

/** Journal, autoclear features, the map of structures: what a fresh engine needs first. */
async function settleIn(engine: Engine, header: Header, wasDirty: boolean): Promise<void> {
  const { image } = engine;
  if (!image.readOnly) {
    try {
      noteStructures(image);
    } catch (e) {
      // The image is marked and read-only now: what can be read is.
      if (!(e instanceof BlockError)) throw e;
    }
  }
  // Our bit beside the dirty bit: somebody wrote who does not know the journal.
  if (!wasDirty) await recoverJournal(engine);
  if (image.readOnly || header.autoclear === 0n) return;
  // Before anything is written: what we do not keep up to date is no longer to be believed.
  image.sector.setJournal(0, 0);
  await image.sector.write();
}

type Parts = {
  readonly file: ImageFile;
  readonly name: string;
  readonly header: Header;
  readonly layout: Layout;
  readonly sector: HeadSector;
  readonly backing: BlockDevice | null;
  readonly readOnly: boolean;
};

async function buildImage(parts: Parts, cacheBytes: number): Promise<Image> {
  const { file, header, layout, sector } = parts;
  const metadata = new MetadataMap();
  const l1Bytes = await readBytes(file, header.l1Offset, header.l1Entries * 8);
  const refcounts = new Refcounts({
    file,
    layout,
    sector,
    metadata,
    tableOffset: header.refcountTableOffset,
    tableClusters: header.refcountTableClusters,
    table: await loadRefcountTable(file, header, layout),
    sync: () => image.sync(),
    corrupt: (why, offset) => image.corrupt(why, offset),
  });
  const slices = header.l1Entries * layout.slicesPerTable;
  const image: Image = new Image({
    ...parts,
    l1: new L1Table(header.l1Offset, l1Bytes),
    slices: new SliceCache(slices, layout.sliceBytes, cacheBytes),
    metadata,
    refcounts,
    snapshots: await loadSnapshots(file, header, layout),
    sizeBytes: header.sizeBytes,
  });
  return image;
}

/** Counts the references anew: the dirty bit says that the refcounts may be wrong. */
async function mend(
  file: ImageFile,
  name: string,
  header: Header,
  layout: Layout,
  sector: HeadSector,
  repair: boolean,
): Promise<Header> {
  const refuse = (why: string): UserError =>
    new UserError('conflict', 'qcow2-dirty', {
      what: `the image "${name}" needs a repair before it can be written`,
      why,
      todo: 'check and repair it first',
    });
  if (!repair) throw refuse('its last writer did not come to its end');
  const snapshots = await loadSnapshots(file, header, layout);
  const roots = {
    l1: { offset: header.l1Offset, entries: header.l1Entries },
    snapshotTable: snapshots,
    snapshots: snapshots.entries,
    others: [],
  };
  const faults: string[] = [];
  const usage = await countReferences(file, layout, roots, {
    onFault: (text) => faults.push(text),
  });
  if (faults.length > 0) throw refuse(faults.slice(0, 3).join('; '));
  const made = await rebuildRefcounts(file, layout, sector, roots, usage, 0);
  const { tableOffset: refcountTableOffset, tableClusters: refcountTableClusters } = made;
  const incompatible = header.incompatible & ~BigInt(Incompatible.DIRTY);
  return { ...header, refcountTableOffset, refcountTableClusters, incompatible };
}

function backingFor(name: string, header: Header, given: BlockDevice | null): BlockDevice | null {
  const named = backingOf(header);
  if (named !== null && given === null) {
    const format = named.format === null ? '' : ` (${named.format})`;
    throw new UserError('invalid', 'qcow2-backing-needed', {
      what: `the image "${name}" is an overlay and cannot be opened alone`,
      why: `it stands on "${named.file}"${format}, and a path inside an image is never followed`,
      todo: 'if you trust that file, name it: --backing FILE',
    });
  }
  if (named === null && given !== null) {
    throw new UserError('invalid', 'qcow2-backing-unwanted', {
      what: `the image "${name}" is no overlay`,
      why: 'its header names no backing file, so nothing below it would be read',
      todo: 'open it without a backing file',
    });
  }
  return given;
}

function blockBytesFor(
  name: string,
  header: Header,
  layout: Layout,
  backing: BlockDevice | null,
  asked: number | undefined,
): number {
  const below = backing?.blockBytes ?? 512;
  const blockBytes = asked ?? below;
  const what = `"${name}" cannot be shown in blocks of ${blockBytes} bytes`;
  const refuse = (why: string): UserError =>
    new UserError('invalid', 'image-block-size', { what, why });
  if (!BLOCK_SIZES.includes(blockBytes))
    throw refuse('disks have blocks of 512, 2048 or 4096 bytes');
  if (blockBytes < below) throw refuse(`the disk below has blocks of ${below} bytes`);
  if (below > layout.subclusterBytes) {
    throw refuse(`the disk below has blocks of ${below} bytes, larger than its clusters`);
  }
  if (header.sizeBytes === 0) throw refuse('it is empty');
  if (header.sizeBytes % blockBytes !== 0) {
    throw refuse(`its size, ${header.sizeBytes} bytes, is no multiple`);
  }
  return blockBytes;
}

function refuseStranger(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  throw new UserError('invalid', 'image-kind', {
    what: `"${path}" cannot be used as an image`,
    why: stats.isDirectory() ? 'it is a folder' : 'it is neither a file nor a block device',
    todo: 'name a regular file or a block device',
  });
}
