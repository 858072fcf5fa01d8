/**
 * CRC32C (Castagnoli), the digest of iSCSI (RFC 7143 §13.1) and of nothing in Node's zlib.
 * Slicing by eight: eight table look-ups per eight bytes.
 */
const POLYNOMIAL = 0x82f63b78; // reflected 0x1EDC6F41
const SLICES = 8;
const TABLE: Uint32Array = buildTable();

function buildTable(): Uint32Array {
  const table = new Uint32Array(SLICES * 256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1;
    table[n] = c >>> 0;
  }
  for (let i = 256; i < SLICES * 256; i++) {
    const previous = table[i - 256]!;
    table[i] = (table[previous & 255]! ^ (previous >>> 8)) >>> 0;
  }
  return table;
}

/**
 * The CRC32C of `length` bytes from `start`, as an unsigned 32-bit number. `seed` is the result of
 * an earlier call over the bytes before (0 to begin).
 */
export function crc32c(
  bytes: Uint8Array,
  start = 0,
  length = bytes.length - start,
  seed = 0,
): number {
  const t = TABLE;
  let crc = ~seed;
  let i = start;
  const end = start + length;
  const wide = end - ((end - start) % 8);
  while (i < wide) {
    const low =
      crc ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
    crc =
      t[1792 + (low & 255)]! ^
      t[1536 + ((low >>> 8) & 255)]! ^
      t[1280 + ((low >>> 16) & 255)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + bytes[i + 4]!]! ^
      t[512 + bytes[i + 5]!]! ^
      t[256 + bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
    i += 8;
  }
  while (i < end) {
    crc = t[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
    i += 1;
  }
  return ~crc >>> 0;
}
