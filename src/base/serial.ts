/**
 * Serial number arithmetic of RFC 1982 on 32 bits, as CmdSN, StatSN and DataSN use it
 * (RFC 7143 §4.2.2.1).
 */

/** a + n, modulo 2^32. */
export function serialAdd(a: number, n: number): number {
  return (a + n) >>> 0;
}

/** Signed distance from `b` to `a`: positive when `a` is ahead. */
export function serialDiff(a: number, b: number): number {
  return (a - b) | 0;
}

/** True when `a` comes before `b`. */
export function serialBefore(a: number, b: number): boolean {
  return serialDiff(a, b) < 0;
}
