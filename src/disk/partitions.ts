import { DecodeError, printable } from '#base/mod.ts';
import { detectFilesystem, type Filesystem, readFat } from './filesystems.ts';
import { type Gpt, readGpt } from './gpt.ts';
import { isExtended, type Mbr, type MbrEntry, readLogical } from './mbr.ts';
import { gptTypeName, mbrTypeName } from './partition-types.ts';
import type { DiskWarning, FoundPartitions, PartitionReport } from './report.ts';
import { SECTOR_BYTES, type SectorIo, sliceIo } from './sector-io.ts';

/**
 * Finds the table that rules and its partitions; what is wrong with the table goes to `warnings`.
 */
export function findPartitions(io: SectorIo, mbr: Mbr, warnings: DiskWarning[]): FoundPartitions {
  const gpt = tryGpt(io, warnings);
  if (gpt !== undefined) {
    warnings.push(...gpt.problems.map((p) => ({ code: 'gpt', text: sentence(printable(p)) })));
    return { table: 'gpt', partitions: gptPartitions(io, gpt) };
  }
  if (!mbr.hasSignature || !plausible(mbr, io)) return { table: 'none', partitions: [] };
  return { table: 'mbr', partitions: mbrPartitions(io, mbr, warnings) };
}

function tryGpt(io: SectorIo, warnings: DiskWarning[]): Gpt | undefined {
  try {
    return readGpt(io);
  } catch (e) {
    if (!(e instanceof DecodeError)) throw e;
    warnings.push({ code: 'gpt-damaged', text: sentence(`The GPT cannot be used: ${e.message}`) });
    return undefined;
  }
}

/**
 * A boot sector of a file system also ends in 55 AA, with code where a table would be. It is a
 * table when some entry is used, every flag is 00 or 80, and every used entry starts on the disk.
 */
function plausible(mbr: Mbr, io: SectorIo): boolean {
  const used = mbr.entries.filter((e) => e.type !== 0);
  const flags = mbr.entries.every((e) => e.flag === 0 || e.flag === 0x80);
  const total = io.sizeBytes / SECTOR_BYTES;
  const places = used.every((e) => e.startLba > 0 && e.startLba < total && e.sectorCount > 0);
  if (used.length > 0) return flags && places;
  return readFat(io) === undefined && flags;
}

function gptPartitions(io: SectorIo, gpt: Gpt): PartitionReport[] {
  return gpt.partitions.map((p, i) => {
    const sectorCount = Math.max(0, p.lastLba - p.firstLba + 1);
    return {
      number: i + 1,
      scheme: 'gpt',
      typeCode: p.typeGuid,
      typeName: gptTypeName(p.typeGuid),
      startLba: p.firstLba,
      sectorCount,
      sizeBytes: sectorCount * SECTOR_BYTES,
      active: (p.attributes & 4n) !== 0n,
      name: printable(p.name),
      ...filesystemAt(io, p.firstLba, sectorCount),
    };
  });
}

function mbrPartitions(io: SectorIo, mbr: Mbr, warnings: DiskWarning[]): PartitionReport[] {
  const out: PartitionReport[] = [];
  const logical: PartitionReport[] = [];
  for (const [i, entry] of mbr.entries.entries()) {
    if (entry.type === 0) continue;
    out.push(fromEntry(io, entry, entry.startLba, i + 1, 'mbr'));
    if (!isExtended(entry.type)) continue;
    const chain = readLogical(io, entry);
    if (chain.problem !== undefined) {
      warnings.push({ code: 'logical', text: sentence(chain.problem) });
    }
    for (const p of chain.partitions) {
      logical.push(fromEntry(io, p.entry, p.startLba, 5 + logical.length, 'logical'));
    }
  }
  return [...out, ...logical];
}

function fromEntry(
  io: SectorIo,
  entry: MbrEntry,
  startLba: number,
  number: number,
  scheme: 'mbr' | 'logical',
): PartitionReport {
  return {
    number,
    scheme,
    typeCode: entry.type.toString(16).padStart(2, '0').toUpperCase(),
    typeName: mbrTypeName(entry.type),
    startLba,
    sectorCount: entry.sectorCount,
    sizeBytes: entry.sectorCount * SECTOR_BYTES,
    active: entry.active,
    ...(isExtended(entry.type) ? {} : filesystemAt(io, startLba, entry.sectorCount)),
  };
}

function filesystemAt(
  io: SectorIo,
  startLba: number,
  sectorCount: number,
): { filesystem?: Filesystem } {
  const filesystem = detectFilesystem(partitionIo(io, startLba, sectorCount));
  return filesystem === undefined ? {} : { filesystem: printableFilesystem(filesystem) };
}

/** The bytes of a partition; empty when it lies beyond the disk. */
export function partitionIo(io: SectorIo, startLba: number, sectorCount: number): SectorIo {
  const start = Math.min(startLba * SECTOR_BYTES, io.sizeBytes);
  return sliceIo(io, start, sectorCount * SECTOR_BYTES);
}

/** The file system with its label made printable. */
export function printableFilesystem(f: Filesystem): Filesystem {
  return { kind: f.kind, label: printable(f.label) };
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
}
