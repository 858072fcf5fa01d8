const MAGIC = 0xfd2fb528;

/**
 * The length of the zstd frame that `bytes` begins with (RFC 8878 §3.1.1), or null when none ends
 * within it. Reads headers only.
 */
export function zstdFrameBytes(bytes: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 6 || view.getUint32(0, true) !== MAGIC) return null;
  const descriptor = view.getUint8(4);
  const single = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  let at = 5 + (single ? 0 : 1) + dictionaryBytes + sizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) return null;
    const block = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const type = (block >>> 1) & 3;
    if (type === 3) return null;
    at += 3 + (type === 1 ? 1 : block >>> 3); // a run-length block holds one byte
    if ((block & 1) !== 0) break;
  }
  if ((descriptor & 4) !== 0) at += 4; // checksum
  return at <= bytes.length ? at : null;
}
