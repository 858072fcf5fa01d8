import { DecodeError, printable } from '#base/mod.ts';
import { chsBytes } from './chs.ts';
import { dosWarnings } from './dos-warnings.ts';
import { detectFilesystem, readFat } from './filesystems.ts';
import { guessGeometry } from './ipxe-geometry.ts';
import { readIso } from './iso.ts';
import { decodeMbr, type Mbr } from './mbr.ts';
import { findPartitions, partitionIo, printableFilesystem } from './partitions.ts';
import type { DiskReport, DiskWarning, FoundPartitions, PartitionReport } from './report.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';
import { biosVerdict, isoVerdict, uefiVerdict } from './verdicts.ts';

/** Loaders that UEFI starts by itself, for the machines we boot. */
const UEFI_LOADERS = ['BOOTX64.EFI', 'BOOTIA32.EFI', 'BOOTAA64.EFI'];
const LARGE_SECTOR_BYTES = 4096;

/**
 * Reads tables and boot sectors (some tens of sectors) and says what the disk is, what would boot,
 * and what is wrong. Any bytes at all give a report; only `io` itself can throw.
 */
export function inspectDisk(io: SectorIo): DiskReport {
  if (io.sizeBytes < SECTOR_BYTES) return emptyReport(io.sizeBytes);
  const mbr = decodeMbr(readSectors(io, 0, 1));
  const totalSectors = Math.floor(io.sizeBytes / SECTOR_BYTES);
  const geometry = guessGeometry(mbr.entries, totalSectors);
  const warnings: DiskWarning[] = [];
  const iso = readIso(io);
  const found = findPartitions(io, mbr, warnings);
  const filesystem = found.table === 'none' ? detectFilesystem(io) : undefined;
  const uefiLoaders = findLoaders(io, found.partitions);
  warnings.push(...tableWarnings(io, mbr, found), ...dosWarnings(io, found, mbr, geometry));
  return {
    sizeBytes: io.sizeBytes,
    table: iso !== undefined ? 'iso' : found.table,
    partitions: found.partitions,
    ...(filesystem === undefined ? {} : { filesystem: printableFilesystem(filesystem) }),
    ...(iso === undefined ? {} : { iso: { ...iso, label: printable(iso.label) } }),
    hasBootSignature: mbr.hasSignature,
    geometry,
    earlyGeometry: guessGeometry(mbr.entries, totalSectors, 'early'),
    reachableBytes: Math.min(io.sizeBytes, chsBytes(geometry)),
    bios: iso !== undefined ? isoVerdict(iso, 'bios') : biosVerdict(io, mbr, found),
    uefi: iso !== undefined ? isoVerdict(iso, 'uefi') : uefiVerdict(uefiLoaders, found.partitions),
    uefiLoaders,
    warnings,
  };
}

function emptyReport(sizeBytes: number): DiskReport {
  const geometry = { cylinders: 0, heads: 255, sectorsPerTrack: 63 };
  const nothing = { bootable: false, why: 'the disk is smaller than one sector' };
  return {
    sizeBytes,
    table: 'none',
    partitions: [],
    hasBootSignature: false,
    geometry,
    earlyGeometry: geometry,
    reachableBytes: 0,
    bios: nothing,
    uefi: nothing,
    uefiLoaders: [],
    warnings: [{ code: 'too-small', text: 'The disk is smaller than one sector.' }],
  };
}

function findLoaders(io: SectorIo, partitions: readonly PartitionReport[]): string[] {
  const found = new Set<string>();
  for (const p of partitions) {
    if (p.filesystem?.kind.startsWith('FAT') !== true) continue;
    const fat = readFat(partitionIo(io, p.startLba, p.sectorCount));
    for (const name of UEFI_LOADERS) {
      if (fileExists(fat, `EFI/BOOT/${name}`)) found.add(`\\EFI\\BOOT\\${name}`);
    }
  }
  return [...found];
}

function fileExists(fat: ReturnType<typeof readFat>, path: string): boolean {
  try {
    return (fat?.fileSize(path) ?? 0) > 0;
  } catch (e) {
    if (e instanceof DecodeError) return false;
    throw e;
  }
}

function tableWarnings(io: SectorIo, mbr: Mbr, found: FoundPartitions): DiskWarning[] {
  const out: DiskWarning[] = [];
  const total = Math.floor(io.sizeBytes / SECTOR_BYTES);
  if (io.sizeBytes % SECTOR_BYTES !== 0) {
    const text = `The last ${io.sizeBytes % SECTOR_BYTES} bytes make no whole sector.`;
    out.push({ code: 'odd-size', text });
  }
  if (found.table !== 'gpt' && largeSectorGpt(io)) {
    out.push({
      code: 'large-sectors',
      text: 'The disk was partitioned with sectors of 4096 bytes; with 512 it cannot be read.',
    });
  }
  for (const p of found.partitions) {
    if (p.scheme === 'gpt' || p.startLba + p.sectorCount <= total) continue;
    out.push({ code: 'beyond-end', text: `Partition ${p.number} ends beyond the disk.` });
  }
  out.push(...overlaps(found.partitions.filter((p) => p.scheme === 'mbr')));
  const active = mbr.entries.filter((e) => e.active && e.type !== 0).length;
  if (found.table === 'mbr' && active > 1) {
    out.push({ code: 'several-active', text: `${active} partitions are active; only one may be.` });
  }
  return out;
}

function overlaps(partitions: readonly PartitionReport[]): DiskWarning[] {
  const byStart = [...partitions].sort((a, b) => a.startLba - b.startLba);
  return byStart.flatMap((p, i) => {
    const before = byStart[i - 1];
    if (before === undefined || before.startLba + before.sectorCount <= p.startLba) return [];
    const text = `Partitions ${before.number} and ${p.number} overlap.`;
    return [{ code: 'overlap', text }];
  });
}

function largeSectorGpt(io: SectorIo): boolean {
  if (io.sizeBytes < 2 * LARGE_SECTOR_BYTES) return false;
  return Buffer.from(io.read(LARGE_SECTOR_BYTES, 8)).toString('latin1') === 'EFI PART';
}
