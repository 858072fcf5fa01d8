import { invariant } from '#base/mod.ts';
import { SECTOR_BYTES } from './sector-io.ts';

/** A disk as INT 13h describes it: counts, not highest numbers. */
export type Geometry = {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
};

/** One place of INT 13h. Cylinders and heads count from 0, sectors from 1. */
export type Chs = { readonly cylinder: number; readonly head: number; readonly sector: number };

/** INT 13h has ten bits for the cylinder. */
export const MAX_CYLINDERS = 1024;
/** Eight bits would give 256, but every MS-DOS up to Windows 95 fails with 256. */
export const MAX_HEADS = 255;
/** Six bits, and sectors count from 1. */
export const MAX_SECTORS = 63;

/** What a table holds where the address does not fit: cylinder 1023, head 254, sector 63. */
export const CHS_BEYOND: Chs = { cylinder: 1023, head: 254, sector: 63 };

/** Sectors reachable through INT 13h with this geometry. */
export function chsSectors(g: Geometry): number {
  return g.cylinders * g.heads * g.sectorsPerTrack;
}

/** Bytes reachable through INT 13h with this geometry. */
export function chsBytes(g: Geometry): number {
  return chsSectors(g) * SECTOR_BYTES;
}

/** The place of a sector; `CHS_BEYOND` when its cylinder needs more than ten bits. */
export function lbaToChs(lba: number, g: Pick<Geometry, 'heads' | 'sectorsPerTrack'>): Chs {
  invariant(g.heads > 0 && g.sectorsPerTrack > 0, 'a geometry has heads and sectors');
  const track = Math.floor(lba / g.sectorsPerTrack);
  const cylinder = Math.floor(track / g.heads);
  if (cylinder >= MAX_CYLINDERS) return CHS_BEYOND;
  return { cylinder, head: track % g.heads, sector: (lba % g.sectorsPerTrack) + 1 };
}

/** The sector at a place, as INT 13h computes it. */
export function chsToLba(chs: Chs, g: Pick<Geometry, 'heads' | 'sectorsPerTrack'>): number {
  return (chs.cylinder * g.heads + chs.head) * g.sectorsPerTrack + chs.sector - 1;
}

/** The three bytes of a partition table entry: head; sector with cylinder bits 8–9; cylinder. */
export function encodeChs(chs: Chs): Uint8Array {
  return Uint8Array.of(
    chs.head,
    (chs.sector & 0x3f) | ((chs.cylinder >> 2) & 0xc0),
    chs.cylinder & 0xff,
  );
}

/** The reverse of `encodeChs`. Every three bytes mean something; sector 0 is no real place. */
export function decodeChs(bytes: Uint8Array, at = 0): Chs {
  const head = bytes[at] ?? 0;
  const mixed = bytes[at + 1] ?? 0;
  const low = bytes[at + 2] ?? 0;
  return { cylinder: ((mixed & 0xc0) << 2) | low, head, sector: mixed & 0x3f };
}

/** "1024 × 16 × 63" for people. */
export function formatGeometry(g: Geometry): string {
  return `${g.cylinders} × ${g.heads} × ${g.sectorsPerTrack}`;
}
