import type { SectorIo } from './sector-io.ts';

/** What an ISO 9660 image says about itself (ECMA-119 §8.4, El Torito 1.0). */
export type IsoReport = {
  readonly label: string;
  /** Firmware for which the boot catalogue has an entry. */
  readonly boots: readonly ('bios' | 'uefi')[];
};

/** Bytes of a CD block. */
export const CD_BLOCK_BYTES = 2048;
const DESCRIPTORS_LBA = 16;
const BOOT_RECORD_LBA = 17;
/** Sections of a boot catalogue are 32-byte entries; real ones have under ten. */
const MAX_CATALOG_ENTRIES = CD_BLOCK_BYTES / 32;
const PLATFORMS: ReadonlyMap<number, 'bios' | 'uefi'> = new Map([
  [0x00, 'bios'],
  [0xef, 'uefi'],
]);

/** Reads the volume descriptor and the boot catalogue; undefined when this is no ISO image. */
export function readIso(io: SectorIo): IsoReport | undefined {
  const primary = block(io, DESCRIPTORS_LBA);
  if (primary === undefined || latin1(primary, 1, 5) !== 'CD001') return undefined;
  const label = latin1(primary, 40, 32).trim();
  const record = block(io, BOOT_RECORD_LBA);
  if (record === undefined || latin1(record, 1, 5) !== 'CD001') return { label, boots: [] };
  if (!latin1(record, 7, 32).startsWith('EL TORITO SPECIFICATION')) return { label, boots: [] };
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const catalog = block(io, view.getUint32(0x47, true));
  return { label, boots: catalog === undefined ? [] : catalogPlatforms(catalog) };
}

// Validation entry (id 1, platform), default entry, then section headers (0x90, 0x91 = last) each
// followed by its entries; 0x88 = bootable.
function catalogPlatforms(catalog: Uint8Array): ('bios' | 'uefi')[] {
  const found = new Set<'bios' | 'uefi'>();
  const add = (platform: number): void => {
    const name = PLATFORMS.get(platform);
    if (name !== undefined) found.add(name);
  };
  if (catalog[0] !== 1) return [];
  if (catalog[32] === 0x88) add(catalog[1] ?? 0);
  let platform = 0;
  for (let i = 2; i < MAX_CATALOG_ENTRIES; i++) {
    const id = catalog[i * 32];
    if (id === 0x90 || id === 0x91) platform = catalog[i * 32 + 1] ?? 0;
    else if (id === 0x88) add(platform);
  }
  return [...found];
}

function block(io: SectorIo, lba: number): Uint8Array | undefined {
  const at = lba * CD_BLOCK_BYTES;
  return at + CD_BLOCK_BYTES > io.sizeBytes ? undefined : io.read(at, CD_BLOCK_BYTES);
}

function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.subarray(at, at + length)).toString('latin1');
}
