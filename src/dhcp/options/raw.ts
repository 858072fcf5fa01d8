import { DecodeError } from '#base/mod.ts';
import { OPTION } from './codes.ts';

/**
 * The raw options of a packet: code → value, in order of first appearance. This map is the truth;
 * typed getters read from it on demand, and options that nobody knows survive decode and encode.
 */
export type Options = Map<number, Uint8Array>;

/** Longest value that one option instance carries; longer ones are split (RFC 3396 §5). */
const INSTANCE_BYTES = 255;

/**
 * Reads the options in `bytes[at, end)` into `into`. Instances of one code are joined in order
 * (RFC 3396 §5). A missing END is accepted: several ROMs end with the datagram. Throws DecodeError
 * when a length runs past the area.
 */
export function readOptions(bytes: Uint8Array, at: number, end: number, into: Options): void {
  let i = at;
  while (i < end) {
    const code = bytes[i]!;
    if (code === OPTION.end) return;
    i += 1;
    if (code === OPTION.pad) continue;
    if (i >= end) throw new DecodeError('option-length', `option ${code} has no length`, i);
    const length = bytes[i]!;
    i += 1;
    if (i + length > end) {
      throw new DecodeError('option-length', `option ${code} says ${length} bytes`, i - 1);
    }
    const value = bytes.subarray(i, i + length);
    const earlier = into.get(code);
    into.set(code, earlier === undefined ? value : joined(earlier, value));
    i += length;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = Buffer.allocUnsafe(a.length + b.length);
  whole.set(a, 0);
  whole.set(b, a.length);
  return whole;
}

/** Bytes that one option takes on the wire, its headers included. */
export function wireBytes(value: Uint8Array): number {
  return value.length + 2 * Math.max(1, Math.ceil(value.length / INSTANCE_BYTES));
}

/** Writes one option at `at`, split when it is long, and returns the offset behind it. */
export function writeOption(into: Uint8Array, at: number, code: number, value: Uint8Array): number {
  let from = 0;
  let i = at;
  do {
    const length = Math.min(INSTANCE_BYTES, value.length - from);
    into[i] = code;
    into[i + 1] = length;
    into.set(length === value.length ? value : value.subarray(from, from + length), i + 2);
    i += 2 + length;
    from += length;
  } while (from < value.length);
  return i;
}
