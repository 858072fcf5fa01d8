import { DecodeError, invariant } from '#base/mod.ts';
import { fatBitsOf, type FatLayout } from './fat-layout.ts';
import { SECTOR_BYTES } from './sector-io.ts';

/** What a FAT boot sector says: its layout (BIOS parameter block) and who it is. */
export type FatBootSector = {
  readonly layout: FatLayout;
  readonly oemName: string;
  readonly mediaByte: number;
  readonly sectorsPerTrack: number;
  readonly heads: number;
  /** Sectors before the partition: DOS adds them to every address, so they must be its start. */
  readonly hiddenSectors: number;
  readonly driveNumber: number;
  readonly serial: number;
  readonly label: string;
  /** FAT32: cluster of the root directory, sectors of FSInfo and of the spare boot sector. */
  readonly rootCluster: number;
  readonly fsInfoSector: number;
  readonly backupBootSector: number;
  readonly bytesPerSector: number;
};

/** Where boot code starts: behind the parameter block. */
const CODE_AT = { 12: 62, 16: 62, 32: 90 } as const;
const EXTENDED_SIGNATURE = 0x29;
const DIRECTORY_ENTRY_BYTES = 32;

/** The text, upper case Latin-1, padded with spaces to `length`. */
export function paddedText(text: string, length: number): Uint8Array {
  return Buffer.from(text.toUpperCase().slice(0, length).padEnd(length), 'latin1');
}

/** The 512 bytes of a boot sector with `code` behind the parameter block. */
export function encodeFatBootSector(b: FatBootSector, code: Uint8Array): Uint8Array {
  const { layout } = b;
  const codeAt = CODE_AT[layout.bits];
  invariant(codeAt + code.length <= 510, 'boot code fits');
  const sector = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(sector.buffer);
  const small = layout.bits !== 32 && layout.totalSectors < 0x10000;
  sector.set([0xeb, codeAt - 2, 0x90]);
  sector.set(Buffer.from(b.oemName.padEnd(8), 'latin1').subarray(0, 8), 3);
  view.setUint16(11, b.bytesPerSector, true);
  view.setUint8(13, layout.sectorsPerCluster);
  view.setUint16(14, layout.reservedSectors, true);
  view.setUint8(16, layout.fatCount);
  view.setUint16(17, layout.rootEntries, true);
  view.setUint16(19, small ? layout.totalSectors : 0, true);
  view.setUint8(21, b.mediaByte);
  view.setUint16(22, layout.bits === 32 ? 0 : layout.sectorsPerFat, true);
  view.setUint16(24, b.sectorsPerTrack, true);
  view.setUint16(26, b.heads, true);
  view.setUint32(28, b.hiddenSectors, true);
  view.setUint32(32, small ? 0 : layout.totalSectors, true);
  let at = 36;
  if (layout.bits === 32) {
    view.setUint32(36, layout.sectorsPerFat, true);
    view.setUint32(44, b.rootCluster, true);
    view.setUint16(48, b.fsInfoSector, true);
    view.setUint16(50, b.backupBootSector, true);
    at = 64;
  }
  view.setUint8(at, b.driveNumber);
  view.setUint8(at + 2, EXTENDED_SIGNATURE);
  view.setUint32(at + 3, b.serial, true);
  sector.set(paddedText(b.label, 11), at + 7);
  sector.set(paddedText(`FAT${layout.bits}`, 8), at + 18);
  sector.set(code, codeAt);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/**
 * Reads a FAT boot sector. Throws DecodeError `no-fat` when it is none, and others when its numbers
 * contradict each other. Sectors of 512 bytes only: DOS and firmware know no other.
 */
export function decodeFatBootSector(sector: Uint8Array): FatBootSector {
  if (sector.length < SECTOR_BYTES) throw new DecodeError('truncated', 'no sector', sector.length);
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR_BYTES);
  if (view.getUint8(510) !== 0x55 || view.getUint8(511) !== 0xaa) {
    throw new DecodeError('no-fat', 'no 55 AA', 510);
  }
  const jump = view.getUint8(0);
  if (jump !== 0xeb && jump !== 0xe9) throw new DecodeError('no-fat', 'no jump at the start', 0);
  const bytesPerSector = view.getUint16(11, true);
  if (bytesPerSector !== SECTOR_BYTES) {
    throw new DecodeError('no-fat', `sectors of ${bytesPerSector} bytes`, 11);
  }
  const layout = decodeLayout(view);
  const at = layout.bits === 32 ? 64 : 36;
  const extended = view.getUint8(at + 2) === EXTENDED_SIGNATURE;
  return {
    layout,
    oemName: latin1(sector, 3, 8),
    mediaByte: view.getUint8(21),
    sectorsPerTrack: view.getUint16(24, true),
    heads: view.getUint16(26, true),
    hiddenSectors: view.getUint32(28, true),
    driveNumber: view.getUint8(at),
    serial: extended ? view.getUint32(at + 3, true) : 0,
    label: extended ? latin1(sector, at + 7, 11) : '',
    rootCluster: layout.bits === 32 ? view.getUint32(44, true) : 0,
    fsInfoSector: layout.bits === 32 ? view.getUint16(48, true) : 0,
    backupBootSector: layout.bits === 32 ? view.getUint16(50, true) : 0,
    bytesPerSector,
  };
}

function decodeLayout(view: DataView): FatLayout {
  const sectorsPerCluster = view.getUint8(13);
  if (sectorsPerCluster === 0 || (sectorsPerCluster & (sectorsPerCluster - 1)) !== 0) {
    throw new DecodeError('no-fat', `clusters of ${sectorsPerCluster} sectors`, 13);
  }
  const reservedSectors = view.getUint16(14, true);
  const fatCount = view.getUint8(16);
  if (reservedSectors === 0 || fatCount === 0 || fatCount > 4) {
    throw new DecodeError('no-fat', `${reservedSectors} reserved, ${fatCount} tables`, 14);
  }
  const rootEntries = view.getUint16(17, true);
  const rootSectors = Math.ceil((rootEntries * DIRECTORY_ENTRY_BYTES) / SECTOR_BYTES);
  const totalSectors = view.getUint16(19, true) || view.getUint32(32, true);
  const sectorsPerFat = view.getUint16(22, true) || view.getUint32(36, true);
  const dataStart = reservedSectors + fatCount * sectorsPerFat + rootSectors;
  if (sectorsPerFat === 0 || dataStart >= totalSectors) {
    throw new DecodeError('fat-size', 'the tables are larger than the file system', 22);
  }
  const clusterCount = Math.floor((totalSectors - dataStart) / sectorsPerCluster);
  const bits = fatBitsOf(clusterCount);
  if ((bits === 32) !== (rootEntries === 0)) {
    throw new DecodeError('fat-kind', `FAT${bits} with ${rootEntries} root entries`, 17);
  }
  if ((sectorsPerFat * SECTOR_BYTES * 8) / bits < clusterCount + 2) {
    throw new DecodeError('fat-size', `the table is too short for ${clusterCount} clusters`, 22);
  }
  return {
    bits,
    totalSectors,
    sectorsPerCluster,
    reservedSectors,
    fatCount,
    sectorsPerFat,
    rootEntries,
    rootSectors,
    dataStart,
    clusterCount,
  };
}

function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.subarray(at, at + length))
    .toString('latin1')
    .trimEnd();
}
