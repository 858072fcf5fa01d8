/**
 * Reference counts in a refcount block: 2^order bits each, sub-byte widths from the least
 * significant bit on, wider ones big-endian.
 */

/** The count at `index` of `block`. Counts beyond 2^53 (64 bits wide) read as 2^53-1. */
export function getRefcount(block: Uint8Array, index: number, order: number): number {
  if (order < 3) {
    const perByte = 8 >> order;
    const bits = 1 << order;
    const shift = (index % perByte) * bits;
    return ((block[Math.floor(index / perByte)] ?? 0) >>> shift) & ((1 << bits) - 1);
  }
  const bytes = 1 << (order - 3);
  let value = 0;
  for (let i = 0; i < bytes; i++) value = value * 256 + (block[index * bytes + i] ?? 0);
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}

/** Sets the count at `index`; the caller has checked that `value` fits. */
export function setRefcount(block: Uint8Array, index: number, order: number, value: number): void {
  if (order < 3) {
    const perByte = 8 >> order;
    const bits = 1 << order;
    const shift = (index % perByte) * bits;
    const at = Math.floor(index / perByte);
    const mask = ((1 << bits) - 1) << shift;
    block[at] = ((block[at] ?? 0) & ~mask) | (value << shift);
    return;
  }
  const bytes = 1 << (order - 3);
  let rest = value;
  for (let i = bytes - 1; i >= 0; i--) {
    block[index * bytes + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}
