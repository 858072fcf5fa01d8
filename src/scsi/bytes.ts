/** Big-endian fields of CDBs and parameter lists. Bytes past the end read as zero. */

/** One byte. */
export function u8(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

/** Two bytes. */
export function u16(bytes: Uint8Array, at: number): number {
  return (u8(bytes, at) << 8) | u8(bytes, at + 1);
}

/** Three bytes. */
function u24(bytes: Uint8Array, at: number): number {
  return (u8(bytes, at) << 16) | u16(bytes, at + 1);
}

/** Four bytes, unsigned. */
export function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 0x10000 + u16(bytes, at + 2);
}

/** Eight bytes as a number: exact below 2^53, and far beyond any disk above it. */
export function u64(bytes: Uint8Array, at: number): number {
  return u32(bytes, at) * 0x100000000 + u32(bytes, at + 4);
}

/** A field of 1, 2, 3, 4 or 8 bytes. */
export function field(bytes: Uint8Array, at: number, length: number): number {
  switch (length) {
    case 1:
      return u8(bytes, at);
    case 2:
      return u16(bytes, at);
    case 3:
      return u24(bytes, at);
    case 4:
      return u32(bytes, at);
    default:
      return u64(bytes, at);
  }
}

/** Writes eight bytes; `value` is a whole number below 2^53. */
export function putU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / 0x100000000), at);
  bytes.writeUInt32BE(value % 0x100000000, at + 4);
}

/** Text in a fixed field, padded with blanks (SPC-4 §4.3.1 left-aligned ASCII). */
export function putText(bytes: Buffer, text: string, at: number, length: number): void {
  bytes.fill(0x20, at, at + length);
  bytes.write(text.slice(0, length), at, 'latin1');
}

/** The number of the highest bit that is set, 7 to 0; -1 for zero. */
export function highestBit(byte: number): number {
  return 31 - Math.clz32(byte);
}
