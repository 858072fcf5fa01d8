import { formatBytes, UserError } from '#base/mod.ts';
import { mbrBootCode } from './boot-code.ts';
import { chsBytes, type Geometry, lbaToChs, MAX_CYLINDERS, MAX_HEADS, MAX_SECTORS } from './chs.ts';
import { type FatBits, MAX_CLUSTERS, MAX_FAT16_SECTORS } from './fat-layout.ts';
import { formatFat } from './fat.ts';
import { writeGpt } from './gpt.ts';
import { EMPTY_ENTRY, encodeMbr } from './mbr.ts';
import { MBR_TYPE } from './partition-types.ts';
import { SECTOR_BYTES, type SectorIo, sliceIo } from './sector-io.ts';

/** Kinds of blank disks. */
export const PRESETS = ['dos', 'win9x', 'gpt'] as const;
export type Preset = (typeof PRESETS)[number];

/** A DOS disk to be written: its size follows from the geometry. */
export type DosPlan = {
  readonly preset: 'dos' | 'win9x';
  readonly sizeBytes: number;
  readonly geometry: Geometry;
  readonly partition: {
    readonly type: number;
    readonly bits: FatBits;
    readonly startLba: number;
    readonly sectorCount: number;
  };
};

/** A blank disk to be written. */
export type PresetPlan = DosPlan | { readonly preset: 'gpt'; readonly sizeBytes: number };

/** 1024 cylinders × 16 heads × 63 sectors: what a BIOS without translation reaches. */
export const DOS_SMALL_BYTES = MAX_CYLINDERS * 16 * MAX_SECTORS * SECTOR_BYTES;
/** 1024 × 255 × 63 = 7.84 GiB: all that INT 13h can address by C/H/S. */
export const DOS_MAX_BYTES = MAX_CYLINDERS * MAX_HEADS * MAX_SECTORS * SECTOR_BYTES;
/** 28-bit ATA: drivers of Windows 9x go no further. */
const WIN9X_MAX_BYTES = 127 * 2 ** 30;
const MIN_BYTES = 2 ** 20;
const MIB = 2 ** 20;
/** A round size just under the most that DOS reaches ("7.8G") means the most. */
const NEARLY = 0.99;
/** Where Windows 98's own tools begin to choose FAT32. */
const WIN9X_FAT32_FROM_BYTES = 512 * MIB;
/** DOS starts the first partition on the second track. */
const FIRST_LBA = MAX_SECTORS;
const FAT12_MAX_SECTORS = MAX_CLUSTERS[12] * 8;
const SMALL_FAT16_SECTORS = 0x10000;

/**
 * The disk of a preset nearest to `requestedBytes`: DOS disks are a whole number of cylinders of
 * 16 × 63 sectors (up to 504 MiB) or 255 × 63, so that iPXE guesses the geometry that was meant.
 * Throws UserError `disk-size`.
 */
export function planPreset(preset: Preset, requestedBytes: number): PresetPlan {
  const most = { dos: DOS_MAX_BYTES, win9x: WIN9X_MAX_BYTES, gpt: 2 ** 53 - MIB }[preset];
  if (
    !Number.isSafeInteger(requestedBytes) ||
    requestedBytes < MIN_BYTES ||
    requestedBytes > most
  ) {
    throw wrongSize(preset, requestedBytes, most);
  }
  if (preset === 'gpt') return { preset, sizeBytes: Math.ceil(requestedBytes / MIB) * MIB };
  const geometry = dosGeometry(requestedBytes);
  const sizeBytes = chsBytes(geometry);
  const sectorCount = sizeBytes / SECTOR_BYTES - FIRST_LBA;
  const bits = fatFor(preset, sizeBytes, sectorCount);
  const type = typeFor(bits, sectorCount, geometry.cylinders > MAX_CYLINDERS);
  return {
    preset,
    sizeBytes,
    geometry,
    partition: { type, bits, startLba: FIRST_LBA, sectorCount },
  };
}

function wrongSize(preset: Preset, bytes: number, most: number): UserError {
  const tooBig = bytes > most;
  return new UserError('invalid', 'disk-size', {
    what: `${formatBytes(bytes)} is too ${tooBig ? 'large' : 'small'} for a ${preset} disk`,
    why: tooBig
      ? `${preset} reaches at most ${formatBytes(most)}`
      : `the smallest disk is ${formatBytes(MIN_BYTES)}`,
    todo:
      tooBig && preset === 'dos'
        ? 'choose 7.8G, or the preset win9x (FAT32 with LBA, up to 127G)'
        : 'choose another size',
  });
}

/** Cylinders here may exceed 1024 (win9x beyond 7.84 GiB); the table then says FE FF FF. */
function dosGeometry(bytes: number): Geometry {
  if (bytes >= DOS_MAX_BYTES * NEARLY && bytes <= DOS_MAX_BYTES) {
    return { cylinders: MAX_CYLINDERS, heads: MAX_HEADS, sectorsPerTrack: MAX_SECTORS };
  }
  const heads = bytes <= DOS_SMALL_BYTES ? 16 : MAX_HEADS;
  const cylinders = Math.round(bytes / (heads * MAX_SECTORS * SECTOR_BYTES));
  return { cylinders, heads, sectorsPerTrack: MAX_SECTORS };
}

function fatFor(preset: 'dos' | 'win9x', sizeBytes: number, sectors: number): FatBits {
  if (sectors <= FAT12_MAX_SECTORS) return 12;
  const fat32From = preset === 'win9x' ? WIN9X_FAT32_FROM_BYTES : Infinity;
  return sectors > MAX_FAT16_SECTORS || sizeBytes >= fat32From ? 32 : 16;
}

/** The type that the DOS of the time wrote: LBA types only where C/H/S does not reach. */
function typeFor(bits: FatBits, sectors: number, beyondChs: boolean): number {
  if (bits === 12) return MBR_TYPE.fat12;
  if (bits === 16) return sectors < SMALL_FAT16_SECTORS ? MBR_TYPE.fat16Small : MBR_TYPE.fat16;
  return beyondChs ? MBR_TYPE.fat32Lba : MBR_TYPE.fat32;
}

/** What identifies one disk: from a random source in life, fixed in tests. */
export type PresetIdentity = {
  readonly label: string;
  readonly diskSignature: number;
  readonly serial: number;
  readonly timeMs: number;
  readonly diskGuid?: string;
};

/** Writes a blank disk. Every byte of `io` must read as zero before, and its size be the plan's. */
export function writePreset(io: SectorIo, plan: PresetPlan, identity: PresetIdentity): void {
  if (plan.preset === 'gpt') {
    const { diskGuid } = identity;
    writeGpt(io, { partitions: [], ...(diskGuid === undefined ? {} : { diskGuid }) });
    return;
  }
  const { partition, geometry } = plan;
  io.write(0, dosMbr(plan, identity.diskSignature));
  const offset = partition.startLba * SECTOR_BYTES;
  formatFat(sliceIo(io, offset, partition.sectorCount * SECTOR_BYTES), {
    bits: partition.bits,
    hiddenSectors: partition.startLba,
    heads: geometry.heads,
    sectorsPerTrack: geometry.sectorsPerTrack,
    label: identity.label,
    serial: identity.serial,
    timeMs: identity.timeMs,
    zeroed: true,
  });
}

/** The boot record of a DOS disk: our boot code and one active partition. */
export function dosMbr(plan: DosPlan, diskSignature: number): Uint8Array {
  const { type, startLba, sectorCount } = plan.partition;
  return encodeMbr({
    bootCode: mbrBootCode(),
    diskSignature,
    hasSignature: true,
    entries: [
      {
        ...EMPTY_ENTRY,
        active: true,
        flag: 0x80,
        type,
        start: lbaToChs(startLba, plan.geometry),
        end: lbaToChs(startLba + sectorCount - 1, plan.geometry),
        startLba,
        sectorCount,
      },
    ],
  });
}
