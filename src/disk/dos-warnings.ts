import { formatBytes } from '#base/mod.ts';
import { chsBytes, chsToLba, type Geometry, lbaToChs, MAX_HEADS, MAX_SECTORS } from './chs.ts';
import type { FatBootSector } from './fat-boot-sector.ts';
import { readFat } from './filesystems.ts';
import { partitionIo } from './partitions.ts';
import type { DiskWarning, FoundPartitions, PartitionReport } from './report.ts';
import type { Mbr, MbrEntry } from './mbr.ts';
import { MBR_TYPE } from './partition-types.ts';
import { SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/** Types whose owner is DOS or Windows 9x, and the FAT each means. */
const DOS_TYPES: ReadonlyMap<number, readonly number[]> = new Map([
  [MBR_TYPE.fat12, [12]],
  [MBR_TYPE.fat16Small, [16]],
  [MBR_TYPE.fat16, [12, 16]],
  [MBR_TYPE.fat16Lba, [12, 16]],
  [MBR_TYPE.fat32, [32]],
  [MBR_TYPE.fat32Lba, [32]],
]);

/**
 * What would keep DOS or Windows 9x from working on this disk under the geometry that iPXE will
 * guess. Nothing for a disk that has no primary FAT partition: others use sector numbers.
 */
export function dosWarnings(
  io: SectorIo,
  found: FoundPartitions,
  mbr: Mbr,
  geometry: Geometry,
): DiskWarning[] {
  if (found.table !== 'mbr') return [];
  const dos = found.partitions.filter((p) => p.scheme === 'mbr' && DOS_TYPES.has(typeOf(p)));
  if (dos.length === 0) return [];
  const wrong = impossible(geometry);
  if (wrong !== undefined) return [wrong];
  return dos.flatMap((p) => {
    const entry = mbr.entries[p.number - 1];
    const fat = readFat(partitionIo(io, p.startLba, p.sectorCount));
    return [
      ...(entry === undefined ? [] : entryWarnings(entry, p.number, geometry)),
      ...reachWarning(p, geometry),
      ...(fat === undefined ? [] : bpbWarnings(fat.boot, p, geometry)),
    ];
  });
}

function typeOf(p: PartitionReport): number {
  return Number.parseInt(p.typeCode, 16);
}

function impossible(g: Geometry): DiskWarning | undefined {
  if (g.heads > MAX_HEADS) {
    return {
      code: 'heads-256',
      text:
        'iPXE will give this disk 256 heads, and DOS and Windows 9x fail with 256. ' +
        'The end of the partition in the table should say head 254, not 255.',
    };
  }
  if (g.sectorsPerTrack > MAX_SECTORS || g.cylinders === 0) {
    return {
      code: 'geometry-impossible',
      text:
        `The partition table makes iPXE guess ${g.heads} heads and ${g.sectorsPerTrack} sectors ` +
        'per track, which no BIOS can have. Its start and end addresses are wrong.',
    };
  }
  return undefined;
}

function entryWarnings(entry: MbrEntry, number: number, g: Geometry): DiskWarning[] {
  const expected = lbaToChs(entry.startLba, g);
  const { start } = entry;
  const beyond = start.cylinder === 1023 || expected.cylinder === 1023;
  if (beyond || chsToLba(start, g) === entry.startLba) return [];
  return [
    {
      code: 'start-mismatch',
      text:
        `Partition ${number} starts at sector ${entry.startLba}, but its C/H/S address ` +
        `${start.cylinder}/${start.head}/${start.sector} means another sector with the ` +
        `${g.heads} heads × ${g.sectorsPerTrack} sectors that iPXE will guess. ` +
        'DOS will look in the wrong place.',
    },
  ];
}

function reachWarning(p: PartitionReport, g: Geometry): DiskWarning[] {
  const type = typeOf(p);
  if (type === MBR_TYPE.fat32Lba || type === MBR_TYPE.fat16Lba) return [];
  const end = (p.startLba + p.sectorCount) * SECTOR_BYTES;
  const reach = chsBytes(g);
  if (end <= reach) return [];
  return [
    {
      code: 'beyond-reach',
      text:
        `Partition ${p.number} ends at ${formatBytes(end)}, but with the ${g.heads} heads × ` +
        `${g.sectorsPerTrack} sectors that iPXE will guess DOS reaches only ` +
        `${formatBytes(reach)}. What lies behind is lost or damaged.`,
    },
  ];
}

function bpbWarnings(boot: FatBootSector, p: PartitionReport, g: Geometry): DiskWarning[] {
  const out: DiskWarning[] = [];
  const warn = (code: string, text: string): void => {
    out.push({ code, text });
  };
  if (boot.heads !== g.heads || boot.sectorsPerTrack !== g.sectorsPerTrack) {
    warn(
      'bpb-geometry',
      `The FAT of partition ${p.number} was made for ${boot.heads} heads × ` +
        `${boot.sectorsPerTrack} sectors, but iPXE will guess ${g.heads} × ` +
        `${g.sectorsPerTrack}. DOS will not start from it.`,
    );
  }
  if (boot.hiddenSectors !== p.startLba) {
    warn(
      'bpb-hidden',
      `The FAT of partition ${p.number} says that ${boot.hiddenSectors} sectors come before it; ` +
        `there are ${p.startLba}. DOS will not start from it.`,
    );
  }
  if (boot.layout.totalSectors > p.sectorCount) {
    warn('bpb-size', `The FAT of partition ${p.number} is larger than the partition.`);
  }
  if (DOS_TYPES.get(typeOf(p))?.includes(boot.layout.bits) === false) {
    warn(
      'type-mismatch',
      `Partition ${p.number} has type ${p.typeCode} (${p.typeName}) but holds ` +
        `FAT${boot.layout.bits}. DOS will misread it.`,
    );
  }
  return out;
}
