import { DecodeError } from '#base/mod.ts';
import { copyBytes } from './pdu/mod.ts';
import { KEY_BYTES_MAX, TEXT_BYTES_MAX, TEXT_KEYS_MAX, VALUE_BYTES_MAX } from './limits.ts';

/** One `key=value` of text mode (RFC 7143 §6.1). */
export type KeyValue = readonly [key: string, value: string];

const KEY = /^[A-Za-z0-9.+@_/#-]+$/;
const EQUALS = 0x3d;

/** Builds the data segment of a login or text PDU. */
export function encodeText(pairs: readonly KeyValue[]): Uint8Array {
  return Buffer.from(pairs.map(([key, value]) => `${key}=${value}\0`).join(''));
}

/**
 * Reads NUL-terminated pairs; throws `DecodeError` with the offset of the bad pair. Empty strings
 * are skipped: some initiators count their padding as text.
 */
export function decodeText(bytes: Uint8Array): KeyValue[] {
  const pairs: KeyValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0, at);
    if (end < 0) throw new DecodeError('text', 'a pair has no end', at);
    if (end > at) pairs.push(decodePair(bytes, at, end));
    if (pairs.length > TEXT_KEYS_MAX) throw new DecodeError('text', 'too many keys', at);
    at = end + 1;
  }
  return pairs;
}

function decodePair(bytes: Uint8Array, at: number, end: number): KeyValue {
  const equals = bytes.indexOf(EQUALS, at);
  if (equals < 0 || equals >= end) throw new DecodeError('text', 'a pair has no =', at);
  if (equals - at > KEY_BYTES_MAX || end - equals - 1 > VALUE_BYTES_MAX) {
    throw new DecodeError('text', 'a pair is too long', at);
  }
  const key = Buffer.from(bytes.subarray(at, equals)).toString('latin1');
  if (!KEY.test(key)) throw new DecodeError('text', 'a key has foreign characters', at);
  return [key, decodeUtf8(bytes.subarray(equals + 1, end), equals + 1)];
}

function decodeUtf8(bytes: Uint8Array, at: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (e) {
    if (e instanceof TypeError) throw new DecodeError('text', 'a value is not UTF-8', at);
    throw e;
  }
}

/** Collects text that spans PDUs by the C bit; pairs may be split anywhere (RFC 7143 §6.2). */
export class TextCollector {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** True while a continuation is awaited. */
  get pending(): boolean {
    return this.#parts.length > 0;
  }

  /** Takes the text of one PDU; null while more follows. Throws `DecodeError`. */
  add(data: Uint8Array, more: boolean): KeyValue[] | null {
    this.#bytes += data.length;
    if (this.#bytes > TEXT_BYTES_MAX) {
      this.#reset();
      throw new DecodeError('text-too-long', `more than ${TEXT_BYTES_MAX} bytes`, TEXT_BYTES_MAX);
    }
    this.#parts.push(copyBytes(data, 0, data.length));
    if (more) return null;
    const whole = Buffer.concat(this.#parts);
    this.#reset();
    return decodeText(whole);
  }

  #reset(): void {
    this.#parts = [];
    this.#bytes = 0;
  }
}

/** Sends text that may be longer than one data segment of the peer. */
export class TextSender {
  #left: Uint8Array;

  constructor(pairs: readonly KeyValue[]) {
    this.#left = encodeText(pairs);
  }

  /** True when nothing is left to send. */
  get done(): boolean {
    return this.#left.length === 0;
  }

  /** The next piece; `more` is the C bit. */
  next(limitBytes: number): { data: Uint8Array; more: boolean } {
    const data = this.#left.subarray(0, limitBytes);
    this.#left = this.#left.subarray(data.length);
    return { data, more: this.#left.length > 0 };
  }
}

/** A numeric value (RFC 7143 §6.1: decimal or 0x hex), or undefined. */
export function parseNumber(value: string): number | undefined {
  if (!/^(?:0[xX][0-9a-fA-F]{1,8}|0|[1-9]\d{0,9})$/.test(value)) return undefined;
  return Number(value);
}

/** A binary value (`0x` hex or `0b` base64), at most `limitBytes` long, or undefined. */
export function parseBinary(value: string, limitBytes: number): Uint8Array | undefined {
  const body = value.slice(2);
  let bytes: Uint8Array | undefined;
  if (/^0[xX]$/.test(value.slice(0, 2)) && /^(?:[0-9a-fA-F]{2})+$/.test(body)) {
    bytes = Buffer.from(body, 'hex');
  } else if (/^0[bB]$/.test(value.slice(0, 2)) && isBase64(body)) {
    bytes = Buffer.from(body, 'base64');
  }
  return bytes !== undefined && bytes.length <= limitBytes ? bytes : undefined;
}

function isBase64(text: string): boolean {
  return text.length > 0 && text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}

/** Bytes as a `0x` hexadecimal value. */
export function formatBinary(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}
