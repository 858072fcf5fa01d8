import { UserError } from '#base/mod.ts';
import { ExtensionType, Incompatible, extensionOf } from './header.ts';
import type { Header } from './header.ts';
import type { Qcow2Backing } from './types.ts';

const KNOWN: bigint = BigInt(
  Incompatible.DIRTY |
    Incompatible.CORRUPT |
    Incompatible.DATA_FILE |
    Incompatible.COMPRESSION |
    Incompatible.EXTENDED_L2,
);
const NAME_ENTRY_BYTES = 48;

/** Whether an incompatible feature bit is set. */
export function has(header: Header, bit: number): boolean {
  return (header.incompatible & BigInt(bit)) !== 0n;
}

/** How the payload is encrypted, null when it is not. */
export function encryptionOf(header: Header): 'aes' | 'luks' | 'unknown' | null {
  if (header.cryptMethod === 0) return null;
  return header.cryptMethod === 1 ? 'aes' : header.cryptMethod === 2 ? 'luks' : 'unknown';
}

/** The external data file's name, '' when the bit is set without one; null when there is none. */
export function dataFileOf(header: Header): string | null {
  if (!has(header, Incompatible.DATA_FILE)) return null;
  const named = extensionOf(header, ExtensionType.DATA_FILE);
  return named === undefined ? '' : textOf(named.data);
}

/** What the header says about a backing file. */
export function backingOf(header: Header): Qcow2Backing | null {
  if (header.backingName === null) return null;
  const format = extensionOf(header, ExtensionType.BACKING_FORMAT);
  return {
    file: textOf(header.backingName),
    format: format === undefined || format.data.length === 0 ? null : textOf(format.data),
  };
}

/** Incompatible features we do not know, by the file's own name for them. */
export function unknownFeatures(header: Header): string[] {
  const names: string[] = [];
  const left = header.incompatible & ~KNOWN;
  for (let bit = 0; bit < 64; bit++) {
    if ((left & (1n << BigInt(bit))) !== 0n) names.push(featureName(header, bit));
  }
  return names;
}

function featureName(header: Header, bit: number): string {
  const table = extensionOf(header, ExtensionType.FEATURE_NAMES)?.data;
  if (table === undefined) return `bit ${bit}`;
  for (let at = 0; at + NAME_ENTRY_BYTES <= table.length; at += NAME_ENTRY_BYTES) {
    if (table[at] !== 0 || table[at + 1] !== bit) continue;
    const field = table.subarray(at + 2, at + NAME_ENTRY_BYTES);
    const end = field.indexOf(0);
    return `"${textOf(end < 0 ? field : field.subarray(0, end))}" (bit ${bit})`;
  }
  return `bit ${bit}`;
}

/**
 * Refuses what the engine cannot do right. Throws UserError unsupported: encryption, an external
 * data file, unknown incompatible features, an unknown compression.
 */
export function refuseUnsupported(path: string, header: Header): void {
  const encryption = encryptionOf(header);
  const dataFile = dataFileOf(header);
  const unknown = unknownFeatures(header);
  if (encryption !== null) {
    const how =
      encryption === 'unknown' ? `method ${header.cryptMethod}` : encryption.toUpperCase();
    throw refusal(path, `it is encrypted (${how})`, 'decrypt it with: qemu-img convert');
  }
  if (dataFile !== null) {
    // Hostile case 35: a path from the file that would be opened for writing.
    const name = dataFile === '' ? 'a separate file' : `"${dataFile}"`;
    throw refusal(
      path,
      `its data is in ${name} and not in the image`,
      'make one file of it with: qemu-img convert -O qcow2',
    );
  }
  if (unknown.length > 0) {
    throw refusal(path, `it uses features that are not known here: ${unknown.join(', ')}`);
  }
  if (header.compressionType > 1) {
    throw refusal(path, `its compression, type ${header.compressionType}, is not known here`);
  }
}

function refusal(path: string, why: string, todo?: string): UserError {
  const what = `the image "${path}" cannot be used`;
  return new UserError(
    'unsupported',
    'qcow2-unsupported',
    todo === undefined ? { what, why } : { what, why, todo },
  );
}

/** Text from a file for people to read: nothing that a terminal would act on (hostile case 20). */
export function textOf(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}');
}
