import { type Geometry, MAX_CYLINDERS } from './chs.ts';
import type { MbrEntry } from './mbr.ts';

/**
 * The C/H/S that iPXE gives a SAN disk. It guesses, when it hooks the disk, from the bytes of the
 * partition table alone (it does not even look for 55 AA), and DOS must live with that guess.
 *
 * rule      | read from entries with type ≠ 0                          | else
 * `current` | heads = highest end-head + 1; sectors = what a partition | 255 heads, 63 sectors
 *           | that starts on cylinder 0 proves, raised to the highest  | (each by itself)
 *           | end-sector                                               |
 * `early`   | heads, sectors = end of the *last* entry whose end-head  | 255 heads, 63 sectors
 *           | and end-sector are both not 0                            |
 *
 * `current` is Debian's build of 2019 and every one since; `early` is iPXE before unaligned
 * partitions were thought of. Cylinders = size / (heads × sectors), at most 1024, in both.
 */
export const GUESS_RULES = ['current', 'early'] as const;
export type GuessRule = (typeof GUESS_RULES)[number];

const DEFAULT_HEADS = 255;
const DEFAULT_SECTORS = 63;
/** Sizes and partition starts are 32-bit in iPXE's guess. */
const MAX_U32 = 0xffffffff;

/**
 * The geometry that iPXE will guess for a hard disk of `totalSectors` sectors with these four
 * entries. Heads can be 256 and sectors more than 63 when the table is wrong: `geometryWarnings`
 * says so.
 */
export function guessGeometry(
  entries: readonly MbrEntry[],
  totalSectors: number,
  rule: GuessRule = 'current',
): Geometry {
  const { heads, sectors } = rule === 'current' ? guessCurrent(entries) : guessEarly(entries);
  // The product is 32-bit too; it cannot be 0 unless it wraps, which needs sectors > 2^24.
  const perCylinder = Math.imul(heads, sectors) >>> 0;
  const blocks = Math.min(totalSectors, MAX_U32);
  const cylinders = perCylinder === 0 ? 0 : Math.floor(blocks / perCylinder);
  return { cylinders: Math.min(cylinders, MAX_CYLINDERS), heads, sectorsPerTrack: sectors };
}

function guessCurrent(entries: readonly MbrEntry[]): { heads: number; sectors: number } {
  let heads = 0;
  let sectors = 0;
  for (const { type, start, end, startLba } of entries) {
    if (type === 0) continue;
    // On cylinder 0: startLba = head × sectors + sector − 1, so the table itself proves `sectors`.
    // Unsigned arithmetic: a start below its own sector number wraps to a huge value.
    if (start.cylinder === 0 && start.head !== 0) {
      sectors = Math.floor(((startLba + 1 - start.sector) >>> 0) / start.head);
    }
    heads = Math.max(heads, end.head + 1);
    sectors = Math.max(sectors, end.sector);
  }
  return { heads: heads || DEFAULT_HEADS, sectors: sectors || DEFAULT_SECTORS };
}

function guessEarly(entries: readonly MbrEntry[]): { heads: number; sectors: number } {
  let heads = DEFAULT_HEADS;
  let sectors = DEFAULT_SECTORS;
  for (const { type, end } of entries) {
    if (type === 0 || end.head === 0 || end.sector === 0) continue;
    heads = end.head + 1;
    sectors = end.sector;
  }
  return { heads, sectors };
}
