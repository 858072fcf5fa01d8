import { InternalError } from '#base/mod.ts';

/** Bytes of one directory entry. */
export const ENTRY_BYTES = 32;

/** Attribute bits of an entry. All four low bits at once mark a piece of a long name. */
export const Attribute = {
  readOnly: 0x01,
  hidden: 0x02,
  system: 0x04,
  label: 0x08,
  folder: 0x10,
  archive: 0x20,
} as const;

const LONG_NAME = 0x0f;
const DELETED = 0xe5;
const FIRST_YEAR = 1980;

/** One entry of a directory, without its long name. */
export type DirectoryEntry = {
  /** Eleven bytes: eight of name, three of extension, padded with spaces. */
  readonly name: Uint8Array;
  readonly attributes: number;
  readonly cluster: number;
  readonly sizeBytes: number;
  readonly timeMs: number;
};

/** The eleven bytes of an 8.3 name ("BOOTX64.EFI", ".", ".."). Throws InternalError for others. */
export function shortName(name: string): Uint8Array {
  const parts = /^([A-Z0-9_~!#$%&'()@^{}-]{1,8})(?:\.([A-Z0-9_~!#$%&'()@^{}-]{1,3}))?$/.exec(name);
  const dots = name === '.' || name === '..';
  if (parts === null && !dots) throw new InternalError(`"${name}" is no 8.3 name`);
  const text = dots ? name.padEnd(11) : (parts?.[1] ?? '').padEnd(8) + (parts?.[2] ?? '').padEnd(3);
  return Buffer.from(text, 'latin1');
}

/** The 32 bytes of an entry; the reverse of `decodeDirectory` for one. */
export function encodeDirectoryEntry(e: DirectoryEntry): Uint8Array {
  const out = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(out.buffer);
  const { date, time } = fatTime(e.timeMs);
  out.set(e.name);
  view.setUint8(11, e.attributes);
  view.setUint16(14, time, true);
  view.setUint16(16, date, true);
  view.setUint16(18, date, true);
  view.setUint16(20, e.cluster >>> 16, true);
  view.setUint16(22, time, true);
  view.setUint16(24, date, true);
  view.setUint16(26, e.cluster & 0xffff, true);
  view.setUint32(28, e.sizeBytes, true);
  return out;
}

/**
 * The entries of a directory's bytes up to its end mark, without deleted ones and long names. Every
 * byte sequence decodes. `timeMs` is not read back (0).
 */
export function decodeDirectory(bytes: Uint8Array): { entries: DirectoryEntry[]; ended: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const first = view.getUint8(at);
    if (first === 0) return { entries, ended: true };
    const attributes = view.getUint8(at + 11);
    if (first === DELETED || (attributes & LONG_NAME) === LONG_NAME) continue;
    entries.push({
      name: bytes.slice(at, at + 11),
      attributes,
      cluster: view.getUint16(at + 20, true) * 0x10000 + view.getUint16(at + 26, true),
      sizeBytes: view.getUint32(at + 28, true),
      timeMs: 0,
    });
  }
  return { entries, ended: false };
}

/** "BOOTX64.EFI" from the eleven bytes. */
export function nameText(name: Uint8Array): string {
  const text = Buffer.from(name).toString('latin1');
  const base = text.slice(0, 8).trimEnd();
  const extension = text.slice(8).trimEnd();
  return extension === '' ? base : `${base}.${extension}`;
}

function fatTime(ms: number): { date: number; time: number } {
  const t = new Date(ms);
  const year = Math.min(Math.max(t.getUTCFullYear(), FIRST_YEAR), FIRST_YEAR + 127) - FIRST_YEAR;
  return {
    date: (year << 9) | ((t.getUTCMonth() + 1) << 5) | t.getUTCDate(),
    time: (t.getUTCHours() << 11) | (t.getUTCMinutes() << 5) | (t.getUTCSeconds() >> 1),
  };
}
