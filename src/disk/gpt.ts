import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { DecodeError, UserError, invariant } from '#base/mod.ts';
import { CHS_BEYOND } from './chs.ts';
import { decodeGuid, encodeGuid } from './guid.ts';
import { EMPTY_ENTRY, encodeMbr } from './mbr.ts';
import { MBR_TYPE } from './partition-types.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/** One partition of a GPT (UEFI 2.10 §5.3.3). `lastLba` is inclusive. */
export type GptPartition = {
  readonly typeGuid: string;
  readonly partitionGuid: string;
  readonly firstLba: number;
  readonly lastLba: number;
  /** Bit 0 required by the platform, bit 2 legacy BIOS bootable; the upper 16 are the type's. */
  readonly attributes: bigint;
  /** At most 36 UTF-16 units. */
  readonly name: string;
};

/** A GPT header (UEFI 2.10 §5.3.2). */
export type GptHeader = {
  readonly diskGuid: string;
  readonly myLba: number;
  readonly alternateLba: number;
  readonly firstUsableLba: number;
  readonly lastUsableLba: number;
  readonly entriesLba: number;
  readonly entryCount: number;
  readonly entryBytes: number;
  readonly entriesCrc: number;
};

/** A partition table as found on a disk, from whichever copy is good. */
export type Gpt = {
  readonly header: GptHeader;
  readonly partitions: readonly GptPartition[];
  /** What is wrong with it though it could be read, in plain words. */
  readonly problems: readonly string[];
};

const SIGNATURE = 'EFI PART';
const REVISION_1_0 = 0x00010000;
const HEADER_BYTES = 92;
const ENTRY_BYTES = 128;
/** What every tool writes; UEFI asks for at least 16 KiB of entries. */
const ENTRY_COUNT = 128;
const ENTRIES_SECTORS = (ENTRY_COUNT * ENTRY_BYTES) / SECTOR_BYTES;
/** More than any real disk has; a larger count is damage (64 KiB entries × count is bounded). */
const MAX_ENTRIES_BYTES = 1024 * 1024;
const NAME_UNITS = 36;

/** First sector that a partition may use in our tables: after the MBR, header and 32 of entries. */
export const GPT_FIRST_USABLE_LBA = 2 + ENTRIES_SECTORS;

/** Last sector that a partition may use on a disk of this size. */
export function gptLastUsableLba(totalSectors: number): number {
  return totalSectors - 1 - ENTRIES_SECTORS - 1;
}

/** Reads the header in one sector. Throws DecodeError when it is none, or its checksum is wrong. */
export function decodeGptHeader(sector: Uint8Array): GptHeader {
  if (sector.length < SECTOR_BYTES) throw new DecodeError('truncated', 'no sector', sector.length);
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  if (Buffer.from(sector.subarray(0, 8)).toString('latin1') !== SIGNATURE) {
    throw new DecodeError('no-gpt', 'no GPT header', 0);
  }
  const headerBytes = view.getUint32(12, true);
  if (headerBytes < HEADER_BYTES || headerBytes > SECTOR_BYTES) {
    throw new DecodeError('gpt-header-size', `a header of ${headerBytes} bytes`, 12);
  }
  const summed = sector.slice(0, headerBytes);
  summed.fill(0, 16, 20);
  if (crc32(summed) !== view.getUint32(16, true)) {
    throw new DecodeError('gpt-checksum', 'the GPT header has a wrong checksum', 16);
  }
  const entryBytes = view.getUint32(84, true);
  const entryCount = view.getUint32(80, true);
  if (entryBytes < ENTRY_BYTES || entryBytes % 8 !== 0) {
    throw new DecodeError('gpt-entry-size', `entries of ${entryBytes} bytes`, 84);
  }
  if (entryBytes * entryCount > MAX_ENTRIES_BYTES) {
    throw new DecodeError('gpt-entry-count', `${entryCount} entries`, 80);
  }
  return {
    diskGuid: decodeGuid(sector, 56),
    myLba: readLba(view, 24),
    alternateLba: readLba(view, 32),
    firstUsableLba: readLba(view, 40),
    lastUsableLba: readLba(view, 48),
    entriesLba: readLba(view, 72),
    entryCount,
    entryBytes,
    entriesCrc: view.getUint32(88, true),
  };
}

/**
 * Reads a disk's GPT: the first copy, or the last sector's when the first is damaged. Undefined
 * when neither is there; DecodeError when what is there cannot be used.
 */
export function readGpt(io: SectorIo): Gpt | undefined {
  const lastLba = Math.floor(io.sizeBytes / SECTOR_BYTES) - 1;
  if (lastLba < 2) return undefined;
  const primary = tryCopy(io, 1);
  if (primary instanceof DecodeError) {
    const backup = tryCopy(io, lastLba);
    if (!(backup instanceof DecodeError)) {
      const why = primary.code === 'no-gpt' ? 'is missing' : 'is damaged';
      return withProblems(backup, lastLba, [
        `the first partition table ${why}; the spare copy at the end of the disk was read`,
      ]);
    }
    if (primary.code === 'no-gpt') return undefined;
    throw primary;
  }
  const problems: string[] = [];
  if (primary.header.alternateLba !== lastLba) {
    problems.push('the spare partition table is not at the end of the disk (the disk has grown?)');
  } else if (tryCopy(io, lastLba) instanceof DecodeError) {
    problems.push('the spare partition table at the end of the disk is damaged');
  }
  return withProblems(primary, lastLba, problems);
}

type Copy = { readonly header: GptHeader; readonly partitions: readonly GptPartition[] };

function tryCopy(io: SectorIo, lba: number): Copy | DecodeError {
  try {
    const header = decodeGptHeader(readSectors(io, lba, 1));
    if (header.myLba !== lba) {
      throw new DecodeError('gpt-place', `the header says it is sector ${header.myLba}`, 24);
    }
    const length = header.entryCount * header.entryBytes;
    const bytes = readSectors(io, header.entriesLba, Math.ceil(length / SECTOR_BYTES));
    const table = bytes.subarray(0, length);
    if (crc32(table) !== header.entriesCrc) {
      throw new DecodeError('gpt-checksum', 'the GPT entries have a wrong checksum', 88);
    }
    return { header, partitions: decodeEntries(table, header.entryBytes) };
  } catch (e) {
    if (e instanceof DecodeError) return e;
    throw e;
  }
}

function decodeEntries(table: Uint8Array, entryBytes: number): GptPartition[] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const out: GptPartition[] = [];
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    if (table.subarray(at, at + 16).every((b) => b === 0)) continue; // unused
    const typeGuid = decodeGuid(table, at);
    const raw = Buffer.from(table.subarray(at + 56, at + 56 + NAME_UNITS * 2)).toString('utf16le');
    out.push({
      typeGuid,
      partitionGuid: decodeGuid(table, at + 16),
      firstLba: readLba(view, at + 32),
      lastLba: readLba(view, at + 40),
      attributes: view.getBigUint64(at + 48, true),
      name: raw.split('\0')[0] ?? '',
    });
  }
  return out;
}

function withProblems(copy: Copy, lastLba: number, problems: readonly string[]): Gpt {
  const more = [...problems];
  const byStart = [...copy.partitions].sort((a, b) => a.firstLba - b.firstLba);
  for (const [i, p] of byStart.entries()) {
    if (p.lastLba < p.firstLba) more.push(`partition "${p.name}" ends before it starts`);
    else if (p.lastLba > lastLba) more.push(`partition "${p.name}" ends beyond the disk`);
    const before = byStart[i - 1];
    if (before !== undefined && p.firstLba <= before.lastLba) {
      more.push(`partitions "${before.name}" and "${p.name}" overlap`);
    }
  }
  return { ...copy, problems: more };
}

// An LBA beyond 2^53 is beyond any disk: Infinity keeps every comparison right.
function readLba(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(value);
}

/** What `writeGpt` is asked for; GUIDs are made up when absent. */
export type GptLayout = {
  readonly diskGuid?: string;
  readonly partitions: readonly (Pick<GptPartition, 'typeGuid' | 'firstLba' | 'lastLba' | 'name'> &
    Partial<GptPartition>)[];
  /** Goes before the protective partition (GRUB's boot.img); at most 440 bytes. */
  readonly bootCode?: Uint8Array;
};

/**
 * Writes protective MBR, both headers and both entry arrays. Throws UserError `too-small` when the
 * disk cannot hold them.
 */
export function writeGpt(io: SectorIo, layout: GptLayout): void {
  const totalSectors = Math.floor(io.sizeBytes / SECTOR_BYTES);
  const lastUsable = gptLastUsableLba(totalSectors);
  if (lastUsable < GPT_FIRST_USABLE_LBA) {
    throw new UserError('invalid', 'too-small', {
      what: `${io.sizeBytes} bytes are too few for a GPT disk`,
      todo: 'choose at least 1M',
    });
  }
  const entries = encodeEntries(layout.partitions, lastUsable);
  const diskGuid = layout.diskGuid ?? randomUUID();
  const header = (myLba: number, alternateLba: number, entriesLba: number): Uint8Array =>
    encodeHeader({
      diskGuid,
      myLba,
      alternateLba,
      entriesLba,
      firstUsableLba: GPT_FIRST_USABLE_LBA,
      lastUsableLba: lastUsable,
      entryCount: ENTRY_COUNT,
      entryBytes: ENTRY_BYTES,
      entriesCrc: crc32(entries),
    });
  const last = totalSectors - 1;
  io.write(0, protectiveMbr(totalSectors, layout.bootCode ?? new Uint8Array()));
  io.write(SECTOR_BYTES, header(1, last, 2));
  io.write(2 * SECTOR_BYTES, entries);
  io.write((last - ENTRIES_SECTORS) * SECTOR_BYTES, entries);
  io.write(last * SECTOR_BYTES, header(last, 1, last - ENTRIES_SECTORS));
}

/** The header's sector, checksum included; the reverse of `decodeGptHeader`. */
export function encodeHeader(h: GptHeader): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(sector.buffer);
  sector.set(Buffer.from(SIGNATURE, 'latin1'));
  view.setUint32(8, REVISION_1_0, true);
  view.setUint32(12, HEADER_BYTES, true);
  view.setBigUint64(24, BigInt(h.myLba), true);
  view.setBigUint64(32, BigInt(h.alternateLba), true);
  view.setBigUint64(40, BigInt(h.firstUsableLba), true);
  view.setBigUint64(48, BigInt(h.lastUsableLba), true);
  sector.set(encodeGuid(h.diskGuid), 56);
  view.setBigUint64(72, BigInt(h.entriesLba), true);
  view.setUint32(80, h.entryCount, true);
  view.setUint32(84, h.entryBytes, true);
  view.setUint32(88, h.entriesCrc, true);
  view.setUint32(16, crc32(sector.subarray(0, HEADER_BYTES)), true);
  return sector;
}

function encodeEntries(partitions: GptLayout['partitions'], lastUsable: number): Uint8Array {
  invariant(partitions.length <= ENTRY_COUNT, 'at most 128 partitions');
  const table = new Uint8Array(ENTRY_COUNT * ENTRY_BYTES);
  const view = new DataView(table.buffer);
  for (const [i, p] of partitions.entries()) {
    invariant(p.firstLba >= GPT_FIRST_USABLE_LBA, 'a partition starts after the table');
    invariant(p.firstLba <= p.lastLba && p.lastLba <= lastUsable, 'a partition ends on the disk');
    invariant(p.name.length <= NAME_UNITS, 'a partition name has at most 36 characters');
    const at = i * ENTRY_BYTES;
    table.set(encodeGuid(p.typeGuid), at);
    table.set(encodeGuid(p.partitionGuid ?? randomUUID()), at + 16);
    view.setBigUint64(at + 32, BigInt(p.firstLba), true);
    view.setBigUint64(at + 40, BigInt(p.lastLba), true);
    view.setBigUint64(at + 48, p.attributes ?? 0n, true);
    table.set(Buffer.from(p.name, 'utf16le'), at + 56);
  }
  return table;
}

/**
 * One partition of type EE over the whole disk (UEFI 2.10 §5.2.3). Its end is FE FF FF, not
 * FF FF FF: iPXE reads 256 heads out of the latter, and DOS fails at 256.
 */
function protectiveMbr(totalSectors: number, bootCode: Uint8Array): Uint8Array {
  return encodeMbr({
    bootCode,
    diskSignature: 0,
    hasSignature: true,
    entries: [
      {
        ...EMPTY_ENTRY,
        type: MBR_TYPE.protective,
        start: { cylinder: 0, head: 0, sector: 2 },
        end: CHS_BEYOND,
        startLba: 1,
        sectorCount: Math.min(totalSectors - 1, 0xffffffff),
      },
    ],
  });
}
