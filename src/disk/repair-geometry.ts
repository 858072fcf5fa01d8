import { UserError } from '#base/mod.ts';
import { encodeChs, formatGeometry, type Geometry, lbaToChs, MAX_HEADS } from './chs.ts';
import { MAX_CYLINDERS, MAX_SECTORS } from './chs.ts';
import { readFat } from './filesystems.ts';
import { inspectDisk } from './inspect.ts';
import { guessGeometry } from './ipxe-geometry.ts';
import { decodeMbr, type MbrEntry } from './mbr.ts';
import { partitionIo } from './partitions.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';

type Shape = Pick<Geometry, 'heads' | 'sectorsPerTrack'>;

/** What stands in a partition table and in FAT boot sectors about geometry. */
const TABLE_AT = 446;
const ENTRY_BYTES = 16;
const START_CHS_AT = 1;
const END_CHS_AT = 5;
const BPB_SECTORS_AT = 24;
const BPB_HEADS_AT = 26;
const BPB_HIDDEN_AT = 28;

/** Warnings of `inspectDisk` that a change of these addresses can answer. */
const ABOUT_GEOMETRY: ReadonlySet<string> = new Set([
  'heads-256',
  'geometry-impossible',
  'start-mismatch',
  'beyond-reach',
  'bpb-geometry',
  'bpb-hidden',
]);

/**
 * Rewrites the C/H/S addresses of a DOS disk's partition table, and heads, sectors and hidden
 * sectors in its FAT boot sectors, so that the geometry that iPXE guesses is the one that DOS was
 * installed with. Tries the geometry of the first FAT, then 255 × 63, then 16 × 63, and takes the
 * first that leaves no warning; no file and no partition moves. Returns what was changed, in words;
 * nothing when all was right.
 *
 * Throws UserError `no-dos-disk` when there is no primary FAT partition, `geometry-unmendable` when
 * no geometry fits; then nothing was written.
 */
export function repairGeometry(io: SectorIo): string[] {
  const mbr = decodeMbr(readSectors(io, 0, 1));
  const fats = fatPartitions(io, mbr.entries);
  if (!mbr.hasSignature || fats.length === 0) throw noDosDisk();
  if (complaints(io).length === 0) return [];
  for (const shape of candidates(io, fats)) {
    const trial = new TrialIo(io);
    const changes = lay(trial, mbr.entries, fats, shape);
    if (complaints(trial).length > 0 || !guessedAs(trial, shape)) continue;
    trial.apply();
    return [`the geometry is ${formatGeometry(geometryOf(trial))} now`, ...changes];
  }
  throw new UserError('unsupported', 'geometry-unmendable', {
    what: 'the geometry of this disk cannot be mended',
    why: complaints(io).join(' '),
    todo: 'make a new disk (polyboot image create --preset dos) and copy the files',
  });
}

function complaints(io: SectorIo): string[] {
  const { warnings } = inspectDisk(io);
  return warnings.filter(({ code }) => ABOUT_GEOMETRY.has(code)).map(({ text }) => text);
}

function geometryOf(io: SectorIo, rule: 'current' | 'early' = 'current'): Geometry {
  const { entries } = decodeMbr(readSectors(io, 0, 1));
  return guessGeometry(entries, Math.floor(io.sizeBytes / SECTOR_BYTES), rule);
}

/** Old builds of iPXE guess by another rule: both must come to the same. */
function guessedAs(io: SectorIo, { heads, sectorsPerTrack }: Shape): boolean {
  return (['current', 'early'] as const).every((rule) => {
    const guess = geometryOf(io, rule);
    return guess.heads === heads && guess.sectorsPerTrack === sectorsPerTrack;
  });
}

type Fat = { readonly startLba: number; readonly number: number };

function fatPartitions(io: SectorIo, entries: readonly MbrEntry[]): Fat[] {
  return entries.flatMap(({ type, startLba, sectorCount }, i) => {
    if (type === 0 || sectorCount === 0) return [];
    const fat = readFat(partitionIo(io, startLba, sectorCount));
    return fat === undefined ? [] : [{ startLba, number: i + 1 }];
  });
}

function candidates(io: SectorIo, fats: readonly Fat[]): Shape[] {
  const own = fats.map(({ startLba }) => {
    const boot = readSectors(io, startLba, 1);
    const view = new DataView(boot.buffer, boot.byteOffset, boot.byteLength);
    return {
      heads: view.getUint16(BPB_HEADS_AT, true),
      sectorsPerTrack: view.getUint16(BPB_SECTORS_AT, true),
    };
  });
  const usual = [MAX_HEADS, 16].map((heads) => ({ heads, sectorsPerTrack: MAX_SECTORS }));
  return [...own, ...usual].filter(
    ({ heads, sectorsPerTrack: sectors }) =>
      heads > 0 && heads <= MAX_HEADS && sectors > 0 && sectors <= MAX_SECTORS,
  );
}

/** Writes every address as `shape` has it. Returns what is different from before. */
function lay(
  io: SectorIo,
  entries: readonly MbrEntry[],
  fats: readonly Fat[],
  shape: Shape,
): string[] {
  const changes: string[] = [];
  const table = readSectors(io, 0, 1);
  entries.forEach((entry, i) => {
    if (entry.type === 0) return;
    const at = TABLE_AT + i * ENTRY_BYTES;
    const before = table.slice(at, at + ENTRY_BYTES);
    table.set(encodeChs(lbaToChs(entry.startLba, shape)), at + START_CHS_AT);
    table.set(encodeChs(endOf(entry, shape)), at + END_CHS_AT);
    if (Buffer.compare(before, table.subarray(at, at + ENTRY_BYTES)) !== 0)
      changes.push(`the C/H/S addresses of partition ${i + 1} in the table`);
  });
  io.write(0, table);
  for (const { startLba, number } of fats) {
    if (layBootSectors(io, startLba, shape)) changes.push(`the boot sector of partition ${number}`);
  }
  return changes;
}

/**
 * The last sector of the cylinder that the partition ends on: iPXE takes heads and sectors from
 * there, and DOS looks at the sector count instead.
 */
function endOf(entry: MbrEntry, shape: Shape): ReturnType<typeof lbaToChs> {
  const last = entry.startLba + entry.sectorCount - 1;
  const cylinder = Math.floor(last / (shape.heads * shape.sectorsPerTrack));
  return {
    cylinder: Math.min(cylinder, MAX_CYLINDERS - 1),
    head: shape.heads - 1,
    sector: shape.sectorsPerTrack,
  };
}

/** The boot sector, and the spare one of FAT32. True when something changed. */
function layBootSectors(io: SectorIo, startLba: number, shape: Shape): boolean {
  const fat = readFat(
    partitionIo(io, startLba, Math.floor(io.sizeBytes / SECTOR_BYTES) - startLba),
  );
  const spare = fat?.boot.layout.bits === 32 ? fat.boot.backupBootSector : 0;
  let changed = false;
  for (const sector of spare > 0 ? [0, spare] : [0]) {
    const bytes = readSectors(io, startLba + sector, 1);
    const before = bytes.slice();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    view.setUint16(BPB_SECTORS_AT, shape.sectorsPerTrack, true);
    view.setUint16(BPB_HEADS_AT, shape.heads, true);
    view.setUint32(BPB_HIDDEN_AT, startLba, true);
    if (Buffer.compare(before, bytes) === 0) continue;
    io.write((startLba + sector) * SECTOR_BYTES, bytes);
    changed = true;
  }
  return changed;
}

function noDosDisk(): UserError {
  return new UserError('invalid', 'no-dos-disk', {
    what: 'this disk has no geometry to mend',
    why: 'there is no primary FAT partition on it; other systems use sector numbers',
  });
}

/** A disk on which writes are only tried. */
class TrialIo implements SectorIo {
  readonly sizeBytes: number;
  readonly #io: SectorIo;
  readonly #sectors = new Map<number, Uint8Array>();

  constructor(io: SectorIo) {
    this.#io = io;
    this.sizeBytes = io.sizeBytes;
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    const out = this.#io.read(offsetBytes, lengthBytes);
    for (const [sector, bytes] of this.#sectors) {
      const at = sector * SECTOR_BYTES - offsetBytes;
      const from = Math.max(0, -at);
      const length = Math.min(SECTOR_BYTES - from, lengthBytes - at - from);
      if (from < SECTOR_BYTES && length > 0 && at + from < lengthBytes)
        out.set(bytes.subarray(from, from + length), at + from);
    }
    return out;
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    this.#sectors.set(offsetBytes / SECTOR_BYTES, bytes.slice());
  }

  /** Writes all that was tried, the partition table last: it decides what the rest means. */
  apply(): void {
    const order = [...this.#sectors.keys()].sort((a, b) => b - a);
    for (const sector of order) {
      const bytes = this.#sectors.get(sector);
      if (bytes !== undefined) this.#io.write(sector * SECTOR_BYTES, bytes);
    }
  }
}
