import { DecodeError } from '#base/mod.ts';
import { FatReader } from './fat-reader.ts';
import type { SectorIo } from './sector-io.ts';

/** What a partition holds, for people to see. Nothing is ever decided by it. */
export type Filesystem = { readonly kind: string; readonly label: string };

type Signature = {
  readonly kind: string;
  readonly at: number;
  readonly magic: string;
  /** Offset and length of the label, when it is plain text. */
  readonly label?: readonly [number, number];
};

// Offsets from the start of the partition; the texts are Latin-1.
const SIGNATURES: readonly Signature[] = [
  { kind: 'ext2/3/4', at: 1080, magic: '\u0053\u00ef', label: [1144, 16] },
  { kind: 'NTFS', at: 3, magic: 'NTFS    ' },
  { kind: 'exFAT', at: 3, magic: 'EXFAT   ' },
  { kind: 'XFS', at: 0, magic: 'XFSB', label: [108, 12] },
  { kind: 'Btrfs', at: 65600, magic: '_BHRfS_M', label: [65835, 64] },
  { kind: 'swap', at: 4086, magic: 'SWAPSPACE2', label: [1052, 16] },
  { kind: 'LVM', at: 536, magic: 'LVM2 001' },
  { kind: 'LUKS', at: 0, magic: 'LUKS\u00ba\u00be' },
  { kind: 'squashfs', at: 0, magic: 'hsqs' },
  { kind: 'ISO 9660', at: 32769, magic: 'CD001', label: [32808, 32] },
  { kind: 'HPFS', at: 3, magic: 'OS2 20.0' },
];

/** Names the file system in `io` (a partition, or a disk without a table), or undefined. */
export function detectFilesystem(io: SectorIo): Filesystem | undefined {
  const fat = readFat(io);
  if (fat !== undefined) return { kind: `FAT${fat.boot.layout.bits}`, label: fatLabel(fat) };
  const found = SIGNATURES.find((s) => text(io, s.at, s.magic.length) === s.magic);
  if (found === undefined) return undefined;
  const [at, length] = found.label ?? [0, 0];
  return { kind: found.kind, label: (text(io, at, length).split('\0')[0] ?? '').trim() };
}

/** A reader for the FAT in `io`, or undefined when there is none that can be read. */
export function readFat(io: SectorIo): FatReader | undefined {
  try {
    return new FatReader(io);
  } catch (e) {
    if (e instanceof DecodeError) return undefined;
    throw e;
  }
}

// A damaged root directory still leaves the copy in the boot sector.
function fatLabel(fat: FatReader): string {
  try {
    return fat.label();
  } catch (e) {
    if (e instanceof DecodeError) return fat.boot.label === 'NO NAME' ? '' : fat.boot.label;
    throw e;
  }
}

function text(io: SectorIo, at: number, length: number): string {
  if (length === 0 || at + length > io.sizeBytes) return '';
  return Buffer.from(io.read(at, length)).toString('latin1');
}
