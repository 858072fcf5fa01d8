import { DecodeError, invariant } from '#base/mod.ts';
import { type Chs, decodeChs, encodeChs } from './chs.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/** One of the four entries of a master boot record (or of a logical partition's own table). */
export type MbrEntry = {
  readonly active: boolean;
  /** The raw flag: 0x80 active, 0 not; anything else is damage. */
  readonly flag: number;
  /** 0 = the entry is empty. */
  readonly type: number;
  readonly start: Chs;
  readonly end: Chs;
  readonly startLba: number;
  readonly sectorCount: number;
};

/** A master boot record. `entries` always has four. */
export type Mbr = {
  /** The first 440 bytes. */
  readonly bootCode: Uint8Array;
  /** Windows' disk signature, bytes 440–443. */
  readonly diskSignature: number;
  readonly entries: readonly MbrEntry[];
  /** Bytes 510–511 are 55 AA. */
  readonly hasSignature: boolean;
};

/** A logical partition, found by following the chain of extended partitions. */
export type LogicalPartition = { readonly entry: MbrEntry; readonly startLba: number };

/** Bytes before the disk signature. */
export const BOOT_CODE_BYTES = 440;
const SIGNATURE_AT = 440;
const TABLE_AT = 446;
const ENTRY_BYTES = 16;
const ENTRIES = 4;
/** DOS stops at drive letter Z; a longer chain is damage or a loop. */
const MAX_LOGICAL = 64;

/** Types of a partition that holds logical ones: CHS, LBA, Linux. */
export function isExtended(type: number): boolean {
  return type === 0x05 || type === 0x0f || type === 0x85;
}

/** An entry that describes nothing. */
export const EMPTY_ENTRY: MbrEntry = {
  active: false,
  flag: 0,
  type: 0,
  start: { cylinder: 0, head: 0, sector: 0 },
  end: { cylinder: 0, head: 0, sector: 0 },
  startLba: 0,
  sectorCount: 0,
};

/** Reads sector 0. Any 512 bytes decode; DecodeError `truncated` for fewer. */
export function decodeMbr(sector: Uint8Array): Mbr {
  if (sector.length < SECTOR_BYTES) {
    throw new DecodeError('truncated', `a boot record needs ${SECTOR_BYTES} bytes`, sector.length);
  }
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR_BYTES);
  const entries = Array.from({ length: ENTRIES }, (_, i) => {
    const at = TABLE_AT + i * ENTRY_BYTES;
    const flag = view.getUint8(at);
    return {
      active: flag === 0x80,
      flag,
      type: view.getUint8(at + 4),
      start: decodeChs(sector, at + 1),
      end: decodeChs(sector, at + 5),
      startLba: view.getUint32(at + 8, true),
      sectorCount: view.getUint32(at + 12, true),
    };
  });
  return {
    bootCode: sector.slice(0, BOOT_CODE_BYTES),
    diskSignature: view.getUint32(SIGNATURE_AT, true),
    entries,
    hasSignature: view.getUint8(510) === 0x55 && view.getUint8(511) === 0xaa,
  };
}

/** The 512 bytes of a boot record; the reverse of `decodeMbr` (bytes 444–445 become 0). */
export function encodeMbr(mbr: Mbr): Uint8Array {
  invariant(mbr.bootCode.length <= BOOT_CODE_BYTES, 'boot code fits before the disk signature');
  invariant(mbr.entries.length <= ENTRIES, 'a boot record has four entries');
  const sector = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(sector.buffer);
  sector.set(mbr.bootCode);
  view.setUint32(SIGNATURE_AT, mbr.diskSignature, true);
  for (const [i, entry] of mbr.entries.entries()) {
    const at = TABLE_AT + i * ENTRY_BYTES;
    view.setUint8(at, entry.flag);
    sector.set(encodeChs(entry.start), at + 1);
    view.setUint8(at + 4, entry.type);
    sector.set(encodeChs(entry.end), at + 5);
    view.setUint32(at + 8, entry.startLba, true);
    view.setUint32(at + 12, entry.sectorCount, true);
  }
  if (mbr.hasSignature) sector.set([0x55, 0xaa], 510);
  return sector;
}

/**
 * The logical partitions inside an extended one, in chain order. A chain that leaves the disk, has
 * no signature, loops or is too long ends where it does; `problem` says why, in plain words.
 */
export function readLogical(
  io: SectorIo,
  extended: MbrEntry,
): { partitions: LogicalPartition[]; problem?: string } {
  const partitions: LogicalPartition[] = [];
  const seen = new Set<number>();
  for (let at = extended.startLba; ;) {
    if (seen.has(at)) return { partitions, problem: 'the chain of logical partitions is a loop' };
    if (seen.size >= MAX_LOGICAL) return { partitions, problem: 'too many logical partitions' };
    seen.add(at);
    if ((at + 1) * SECTOR_BYTES > io.sizeBytes) {
      return { partitions, problem: 'the chain of logical partitions leaves the disk' };
    }
    const table = decodeMbr(readSectors(io, at, 1));
    if (!table.hasSignature) {
      return { partitions, problem: `sector ${at} should hold a table and has no 55 AA` };
    }
    const [entry, link] = table.entries;
    if (entry !== undefined && entry.type !== 0 && !isExtended(entry.type)) {
      partitions.push({ entry, startLba: at + entry.startLba });
    }
    if (link === undefined || !isExtended(link.type)) return { partitions };
    // Links count from the start of the whole extended partition, entries from their own table.
    at = extended.startLba + link.startLba;
  }
}
