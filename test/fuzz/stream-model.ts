/** What a byte stream of PDUs means to a receiver, worked out apart from the one under test. */
import type { Digests } from '#iscsi/pdu/mod.ts';

const HEADER_BYTES = 48;

/**
 * Bytes that are missing until the stream ends at the end of a PDU: what a sender would have to add
 * so that the next byte is a header's first. Null when a segment is longer than `segmentBytesMax`,
 * which ends the connection.
 */
export function missingBytes(
  stream: Uint8Array,
  digests: Digests,
  segmentBytesMax: number,
): number | null {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  for (let at = 0; at < stream.length;) {
    const left = stream.length - at;
    if (left < HEADER_BYTES) return HEADER_BYTES - left;
    const word = view.getUint32(at + 4);
    const headBytes = HEADER_BYTES + (word >>> 24) * 4 + (digests.header ? 4 : 0);
    const dataBytes = word & 0xffffff;
    if (dataBytes > segmentBytesMax) return left < headBytes ? headBytes - left : null;
    const body = (dataBytes + 3) & ~3;
    const total = headBytes + body + (digests.data && body > 0 ? 4 : 0);
    if (left < total) return total - left;
    at += total;
  }
  return 0;
}
