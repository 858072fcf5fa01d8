import { InternalError, UserError, invariant } from '#base/mod.ts';
import { noSystemBootCode } from './boot-code.ts';
import { encodeFatBootSector, type FatBootSector } from './fat-boot-sector.ts';
import { Attribute, ENTRY_BYTES, encodeDirectoryEntry, shortName } from './fat-directory.ts';
import { type FatBits, type FatLayout, layoutFat } from './fat-layout.ts';
import { SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/**
 * A file to put on a new file system. Folders are made from the path; names are 8.3, upper case.
 */
export type FatFile = { readonly path: string; readonly bytes: Uint8Array };

/** How to format. All that DOS needs to agree with the partition table is asked for. */
export type FatOptions = {
  readonly bits: FatBits;
  /** Sectors before this partition on its disk. */
  readonly hiddenSectors: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
  /** At most 11 characters; empty for none. */
  readonly label: string;
  readonly serial: number;
  /** Time stamps of the label, files and folders (UTC; FAT has no zone). */
  readonly timeMs: number;
  readonly files?: readonly FatFile[];
  /**
   * True when every byte of the device reads as zero now: then only what is not zero is written.
   */
  readonly zeroed: boolean;
};

const MEDIA_HARD_DISK = 0xf8;
const ROOT_CLUSTER = 2;
const FSINFO_SECTOR = 1;
const BACKUP_SECTOR = 6;
const ZERO_CHUNK = 1024 * 1024;
/** End of a chain, cut to the entry's width. */
const END = 0x0fffffff;

/**
 * Formats the whole of `io` as FAT12, FAT16 or FAT32 with the given files, judged good by fsck.fat.
 * The boot sector says that there is no system yet. Throws UserError `fat-size`, `fat-full` or
 * `fat-label`.
 */
export function formatFat(io: SectorIo, options: FatOptions): FatLayout {
  checkLabel(options.label);
  const layout = layoutFat(options.bits, Math.floor(io.sizeBytes / SECTOR_BYTES));
  if (!options.zeroed) zero(io, (layout.dataStart + layout.sectorsPerCluster) * SECTOR_BYTES);
  const volume = new Volume(io, layout, options.timeMs);
  volume.writeRoot(buildTree(options.files ?? []), options.label);
  volume.writeTables();
  const boot = encodeFatBootSector(bootSector(layout, options), noSystemBootCode());
  io.write(0, boot);
  if (layout.bits === 32) {
    const info = encodeFsInfo(volume.freeClusters, volume.nextFree);
    io.write(FSINFO_SECTOR * SECTOR_BYTES, info);
    io.write(BACKUP_SECTOR * SECTOR_BYTES, boot);
    io.write((BACKUP_SECTOR + FSINFO_SECTOR) * SECTOR_BYTES, info);
  }
  return layout;
}

function checkLabel(label: string): void {
  // Characters that FAT forbids in names, and control characters.
  if (label.length <= 11 && !/["*+,./:;<=>?[\\\]|\u0000-\u001f\u007f-\uffff]/.test(label)) return;
  throw new UserError('invalid', 'fat-label', {
    what: `"${label}" cannot be a FAT label`,
    todo: 'use at most 11 letters, digits, spaces, "-" or "_"',
  });
}

function bootSector(layout: FatLayout, o: FatOptions): FatBootSector {
  const wide = layout.bits === 32;
  return {
    layout,
    // Windows 9x treats a disk whose name is not of its own as suspect and may not mount it.
    oemName: 'MSWIN4.1',
    mediaByte: MEDIA_HARD_DISK,
    sectorsPerTrack: o.sectorsPerTrack,
    heads: o.heads,
    hiddenSectors: o.hiddenSectors,
    driveNumber: 0x80,
    serial: o.serial,
    label: o.label === '' ? 'NO NAME' : o.label,
    rootCluster: wide ? ROOT_CLUSTER : 0,
    fsInfoSector: wide ? FSINFO_SECTOR : 0,
    backupBootSector: wide ? BACKUP_SECTOR : 0,
    bytesPerSector: SECTOR_BYTES,
  };
}

/** FAT spec §5: counts that save a scan of the table; wrong ones are only slow. */
function encodeFsInfo(freeClusters: number, nextFree: number): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(sector.buffer);
  view.setUint32(0, 0x41615252, true);
  view.setUint32(484, 0x61417272, true);
  view.setUint32(488, freeClusters, true);
  view.setUint32(492, nextFree, true);
  view.setUint32(508, 0xaa550000, true);
  return sector;
}

function zero(io: SectorIo, endBytes: number): void {
  const end = Math.min(endBytes, io.sizeBytes);
  for (let at = 0; at < end; at += ZERO_CHUNK) {
    io.write(at, new Uint8Array(Math.min(ZERO_CHUNK, end - at)));
  }
}

type Folder = { readonly folders: Map<string, Folder>; readonly files: Map<string, Uint8Array> };

function buildTree(files: readonly FatFile[]): Folder {
  const root: Folder = { folders: new Map(), files: new Map() };
  for (const file of files) {
    const parts = file.path.split('/');
    const name = parts.pop() ?? '';
    let folder = root;
    for (const part of parts) {
      const next = folder.folders.get(part) ?? { folders: new Map(), files: new Map() };
      folder.folders.set(part, next);
      folder = next;
    }
    if (folder.files.has(name)) throw new InternalError(`${file.path} is there twice`);
    folder.files.set(name, file.bytes);
  }
  return root;
}

/** A file system being filled from its start: clusters are given out in order, never taken back. */
class Volume {
  readonly #io: SectorIo;
  readonly #layout: FatLayout;
  readonly #timeMs: number;
  /** Table entries from 0 on; everything behind is free. */
  readonly #table: number[] = [0x0fffff00 | MEDIA_HARD_DISK, END];

  constructor(io: SectorIo, layout: FatLayout, timeMs: number) {
    this.#io = io;
    this.#layout = layout;
    this.#timeMs = timeMs;
  }

  get nextFree(): number {
    return this.#table.length;
  }

  get freeClusters(): number {
    return this.#layout.clusterCount + 2 - this.#table.length;
  }

  writeRoot(root: Folder, label: string): void {
    const { rootEntries, rootSectors, dataStart, bits } = this.#layout;
    const count = (label === '' ? 0 : 1) + root.folders.size + root.files.size;
    const wide = bits === 32;
    invariant(wide || count <= rootEntries, 'the root directory has room');
    const cluster = wide ? this.#allocate(Math.max(1, count) * ENTRY_BYTES) : 0;
    invariant(!wide || cluster === ROOT_CLUSTER, 'the root comes first');
    const entries = this.#children(root, cluster, true);
    if (label !== '') {
      entries.unshift(
        encodeDirectoryEntry({
          name: Buffer.from(label.toUpperCase().padEnd(11), 'latin1'),
          attributes: Attribute.label,
          cluster: 0,
          sizeBytes: 0,
          timeMs: this.#timeMs,
        }),
      );
    }
    const at = wide ? this.#offset(cluster) : (dataStart - rootSectors) * SECTOR_BYTES;
    this.#io.write(at, Buffer.concat(entries));
  }

  /** Both copies of the table, as far as it is used. */
  writeTables(): void {
    const { bits, reservedSectors, sectorsPerFat, fatCount } = this.#layout;
    const bytes = packTable(this.#table, bits);
    for (let copy = 0; copy < fatCount; copy++) {
      this.#io.write((reservedSectors + copy * sectorsPerFat) * SECTOR_BYTES, bytes);
    }
  }

  /** Writes what is in a folder; returns its entries. */
  #children(folder: Folder, cluster: number, isRoot: boolean): Uint8Array[] {
    const entry = (name: string, attributes: number, first: number, size: number): Uint8Array =>
      encodeDirectoryEntry({
        name: shortName(name),
        attributes,
        cluster: first,
        sizeBytes: size,
        timeMs: this.#timeMs,
      });
    const entries: Uint8Array[] = [];
    for (const [name, child] of folder.folders) {
      const size = (2 + child.folders.size + child.files.size) * ENTRY_BYTES;
      const first = this.#allocate(size);
      entries.push(entry(name, Attribute.folder, first, 0));
      // In a child of the root, ".." holds 0, not the root's cluster (FAT spec §6.5).
      const dots = [
        entry('.', Attribute.folder, first, 0),
        entry('..', Attribute.folder, isRoot ? 0 : cluster, 0),
      ];
      const inside = this.#children(child, first, false);
      this.#io.write(this.#offset(first), Buffer.concat([...dots, ...inside]));
    }
    for (const [name, bytes] of folder.files) {
      const first = bytes.length === 0 ? 0 : this.#allocate(bytes.length);
      if (first !== 0) this.#io.write(this.#offset(first), bytes);
      entries.push(entry(name, Attribute.archive, first, bytes.length));
    }
    return entries;
  }

  /** A run of clusters for so many bytes; its last cluster is padded with zeros. */
  #allocate(lengthBytes: number): number {
    const clusterBytes = this.#layout.sectorsPerCluster * SECTOR_BYTES;
    const count = Math.ceil(lengthBytes / clusterBytes);
    if (count > this.freeClusters) {
      throw new UserError('invalid', 'fat-full', {
        what: 'the files do not fit on the FAT partition',
        todo: 'choose a larger one',
      });
    }
    const first = this.#table.length;
    for (let i = 1; i < count; i++) this.#table.push(first + i);
    this.#table.push(END);
    const lastAt = this.#offset(first + count - 1);
    this.#io.write(lastAt, new Uint8Array(clusterBytes));
    return first;
  }

  #offset(cluster: number): number {
    const { dataStart, sectorsPerCluster } = this.#layout;
    return (dataStart + (cluster - 2) * sectorsPerCluster) * SECTOR_BYTES;
  }
}

function packTable(table: readonly number[], bits: FatBits): Uint8Array {
  const out = new Uint8Array(Math.ceil((table.length * bits) / 8) + 1);
  const view = new DataView(out.buffer);
  for (const [i, value] of table.entries()) {
    if (bits === 32 && i * 4 + 4 <= out.length) view.setUint32(i * 4, value & 0x0fffffff, true);
    else if (bits === 16) view.setUint16(i * 2, value & 0xffff, true);
    else if (bits === 12) {
      const at = Math.floor((i * 3) / 2);
      const pair = view.getUint16(at, true);
      const cut = value & 0xfff;
      view.setUint16(at, i % 2 === 0 ? (pair & 0xf000) | cut : (pair & 0xf) | (cut << 4), true);
    }
  }
  return out;
}
