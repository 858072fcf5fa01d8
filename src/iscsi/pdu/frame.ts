import { crc32c, DecodeError } from '#base/mod.ts';
import { REPORT_LUNS_LUN } from '#scsi/mod.ts';
import { AHS_BYTES_MAX, AT_LENGTHS, AT_LUN, BHS_BYTES } from './offsets.ts';
import { DIGEST_BYTES, FINAL_BIT, IMMEDIATE_BIT, OPCODE_MASK, paddingBytes } from './offsets.ts';

/** One whole PDU: the 48-byte header, additional headers, and data without padding. */
export type Pdu = {
  readonly header: Uint8Array;
  readonly ahs: Uint8Array;
  readonly data: Uint8Array;
};

/** Which digests are in force (RFC 7143 §13.1). */
export type Digests = { readonly header: boolean; readonly data: boolean };

export const NO_DIGESTS: Digests = { header: false, data: false };
export const NO_BYTES: Uint8Array = new Uint8Array(0);

/**
 * A copy of `bytes[from…to)`. Never `slice`: on a Buffer that is a view, here of memory that is
 * only lent for one call.
 */
export function copyBytes(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const copy = new Uint8Array(to - from);
  copy.set(bytes.subarray(from, to));
  return copy;
}

/** A LUN that is none of ours: an address method or level that we do not serve. */
export const LUN_FOREIGN = -1;

/** A PDU with its opcode, lengths and final bit set, and the view to fill in the rest. */
export function blankPdu(
  opcode: number,
  data: Uint8Array = NO_BYTES,
  options: { readonly immediate?: boolean; readonly ahs?: Uint8Array } = {},
): { pdu: Pdu; view: DataView } {
  const header = new Uint8Array(BHS_BYTES);
  const view = new DataView(header.buffer);
  const ahs = options.ahs ?? NO_BYTES;
  header[0] = opcode | (options.immediate === true ? IMMEDIATE_BIT : 0);
  header[1] = FINAL_BIT;
  view.setUint32(AT_LENGTHS, ((ahs.length >>> 2) << 24) | data.length);
  return { pdu: { header, ahs, data }, view };
}

/** A view of the header of a PDU that must have this opcode; throws `DecodeError`. */
export function headerOf(pdu: Pdu, opcode: number): DataView {
  if (pdu.header.length !== BHS_BYTES) throw new DecodeError('truncated', 'short header', 0);
  if ((pdu.header[0]! & OPCODE_MASK) !== opcode) {
    throw new DecodeError('opcode', `opcode is not 0x${opcode.toString(16)}`, 0);
  }
  return new DataView(pdu.header.buffer, pdu.header.byteOffset, BHS_BYTES);
}

/** The opcode of a PDU, without the immediate bit. */
export function opcodeOf(pdu: Pdu): number {
  return pdu.header[0]! & OPCODE_MASK;
}

/** True when the immediate bit is set. */
export function isImmediate(pdu: Pdu): boolean {
  return (pdu.header[0]! & IMMEDIATE_BIT) !== 0;
}

/**
 * The number of a single-level LUN (SAM-5 §4.7.7): peripheral addressing on bus 0, or flat space,
 * or the REPORT LUNS well-known unit; `LUN_FOREIGN` for everything else.
 */
export function lunNumber(high: number, low: number): number {
  if (low !== 0 || (high & 0xffff) !== 0) return LUN_FOREIGN;
  const word = high >>> 16;
  if (word < 0x100 || word === REPORT_LUNS_LUN) return word;
  return word >>> 14 === 1 ? word & 0x3fff : LUN_FOREIGN;
}

/** The first four bytes of a LUN, flat space above 255. */
export function lunHigh(lun: number): number {
  if (lun === REPORT_LUNS_LUN) return (lun << 16) >>> 0;
  return lun < 256 ? lun << 16 : ((0x4000 | lun) << 16) >>> 0;
}

/** Reads the LUN field of a header. */
export function readLun(view: DataView): number {
  return lunNumber(view.getUint32(AT_LUN), view.getUint32(AT_LUN + 4));
}

/** Writes the LUN field of a header. */
export function writeLun(view: DataView, lun: number): void {
  view.setUint32(AT_LUN, lunHigh(lun));
}

/** The bytes of a PDU on the wire, with padding and the digests in force (RFC 7143 §11.1). */
export function framePdu(pdu: Pdu, digests: Digests): Uint8Array {
  const headerBytes = BHS_BYTES + pdu.ahs.length;
  const dataBytes = pdu.data.length + paddingBytes(pdu.data.length);
  const dataDigest = digests.data && dataBytes > 0;
  const out = new Uint8Array(
    headerBytes + dataBytes + (digests.header ? DIGEST_BYTES : 0) + (dataDigest ? DIGEST_BYTES : 0),
  );
  const view = new DataView(out.buffer);
  out.set(pdu.header);
  out.set(pdu.ahs, BHS_BYTES);
  let at = headerBytes;
  if (digests.header) {
    view.setUint32(at, crc32c(out, 0, headerBytes), true);
    at += DIGEST_BYTES;
  }
  out.set(pdu.data, at);
  if (dataDigest) view.setUint32(at + dataBytes, crc32c(out, at, dataBytes), true);
  return out;
}

/** Length of the additional headers and of the data, from the header's length word. */
export function lengthsOf(view: DataView): { ahsBytes: number; dataBytes: number } {
  const word = view.getUint32(AT_LENGTHS);
  return { ahsBytes: Math.min((word >>> 24) * 4, AHS_BYTES_MAX), dataBytes: word & 0xffffff };
}

/**
 * The inverse of `framePdu` for one whole PDU; throws `DecodeError` for wrong lengths and digests.
 * For tests and tools: the server's own receiver works on a stream.
 */
export function parsePdu(bytes: Uint8Array, digests: Digests): Pdu {
  if (bytes.length < BHS_BYTES) throw new DecodeError('truncated', 'short header', bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { ahsBytes, dataBytes } = lengthsOf(view);
  const headerEnd = BHS_BYTES + ahsBytes;
  const dataAt = headerEnd + (digests.header ? DIGEST_BYTES : 0);
  const dataEnd = dataAt + dataBytes + paddingBytes(dataBytes);
  const dataDigest = digests.data && dataBytes > 0;
  const total = dataEnd + (dataDigest ? DIGEST_BYTES : 0);
  if (bytes.length !== total) {
    throw new DecodeError('length', `PDU of ${total} bytes`, Math.min(total, bytes.length));
  }
  if (digests.header && view.getUint32(headerEnd, true) !== crc32c(bytes, 0, headerEnd)) {
    throw new DecodeError('header-digest', 'header digest is wrong', headerEnd);
  }
  if (dataDigest && view.getUint32(dataEnd, true) !== crc32c(bytes, dataAt, dataEnd - dataAt)) {
    throw new DecodeError('data-digest', 'data digest is wrong', dataEnd);
  }
  return {
    header: copyBytes(bytes, 0, BHS_BYTES),
    ahs: copyBytes(bytes, BHS_BYTES, headerEnd),
    data: copyBytes(bytes, dataAt, dataAt + dataBytes),
  };
}
