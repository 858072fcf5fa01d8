import { DecodeError } from '#base/mod.ts';
import { NO_BYTES, copyBytes } from './frame.ts';

/** AHS types (RFC 7143 §11.2.2.1). */
export const AhsType = { EXTENDED_CDB: 1, BIDIRECTIONAL_READ_LENGTH: 2 } as const;

/** What additional header segments can say about a SCSI command. */
export type AdditionalHeaders = {
  /** The CDB's bytes from the 17th on. */
  readonly extendedCdb: Uint8Array;
  /** Expected read length of a bidirectional command. */
  readonly readLengthBytes: number | null;
};

const BIDIRECTIONAL_BYTES = 5; // reserved byte and the length

/** Builds the additional header segments, padded to words. */
export function encodeAhs(p: AdditionalHeaders): Uint8Array {
  const parts: Uint8Array[] = [];
  if (p.extendedCdb.length > 0) {
    const length = p.extendedCdb.length + 1;
    const segment = new Uint8Array((3 + length + 3) & ~3);
    new DataView(segment.buffer).setUint16(0, length);
    segment[2] = AhsType.EXTENDED_CDB;
    segment.set(p.extendedCdb, 4);
    parts.push(segment);
  }
  if (p.readLengthBytes !== null) {
    const segment = new Uint8Array(8);
    const view = new DataView(segment.buffer);
    view.setUint16(0, BIDIRECTIONAL_BYTES);
    segment[2] = AhsType.BIDIRECTIONAL_READ_LENGTH;
    view.setUint32(4, p.readLengthBytes);
    parts.push(segment);
  }
  return Buffer.concat(parts);
}

/** Reads additional header segments; unknown types are skipped. Throws `DecodeError`. */
export function decodeAhs(bytes: Uint8Array): AdditionalHeaders {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let extendedCdb = NO_BYTES;
  let readLengthBytes: number | null = null;
  for (let at = 0; at < bytes.length;) {
    if (at + 3 > bytes.length) throw new DecodeError('ahs', 'AHS is cut off', at);
    const length = view.getUint16(at);
    const type = bytes[at + 2]! & 0x3f;
    if (length === 0 || at + 3 + length > bytes.length) {
      throw new DecodeError('ahs', 'AHS length is wrong', at);
    }
    if (type === AhsType.EXTENDED_CDB) extendedCdb = copyBytes(bytes, at + 4, at + 3 + length);
    if (type === AhsType.BIDIRECTIONAL_READ_LENGTH) {
      if (length !== BIDIRECTIONAL_BYTES) throw new DecodeError('ahs', 'length is not 5', at);
      readLengthBytes = view.getUint32(at + 4);
    }
    at += (3 + length + 3) & ~3;
  }
  return { extendedCdb, readLengthBytes };
}
