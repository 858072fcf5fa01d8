import { DecodeError } from './errors.ts';

/**
 * Reads big-endian fields from a byte range. Every overrun throws `DecodeError` with the offset in
 * the *whole* message, so that a codec can nest readers and still say where the bad byte was.
 */
export class ByteReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #base: number;
  #at = 0;

  /** `base` is added to every reported offset (a nested reader passes its place in the message). */
  constructor(bytes: Uint8Array, base = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#base = base;
  }

  /** Offset of the next byte, within the whole message. */
  get offset(): number {
    return this.#base + this.#at;
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    this.#need(1);
    const v = this.#view.getUint8(this.#at);
    this.#at += 1;
    return v;
  }

  u16(): number {
    this.#need(2);
    const v = this.#view.getUint16(this.#at);
    this.#at += 2;
    return v;
  }

  u32(): number {
    this.#need(4);
    const v = this.#view.getUint32(this.#at);
    this.#at += 4;
    return v;
  }

  /** A view (not a copy) of the next `length` bytes. */
  bytes(length: number): Uint8Array {
    this.#need(length);
    const v = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return v;
  }

  skip(length: number): void {
    this.#need(length);
    this.#at += length;
  }

  /** A view of all that is left. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** Demands that all bytes were consumed. */
  end(): void {
    if (this.remaining !== 0) this.fail('trailing-bytes', `${this.remaining} bytes too many`);
  }

  /** Throws a `DecodeError` at the current offset. */
  fail(code: string, message: string): never {
    throw new DecodeError(code, message, this.offset);
  }

  #need(length: number): void {
    if (length < 0 || length > this.remaining) {
      this.fail('truncated', `needs ${length} bytes, ${this.remaining} left`);
    }
  }
}

/** Appends big-endian fields to a growing buffer. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 512) {
    this.#buffer = Buffer.alloc(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(v: number): this {
    this.#room(1);
    this.#length = this.#buffer.writeUInt8(v, this.#length);
    return this;
  }

  u16(v: number): this {
    this.#room(2);
    this.#length = this.#buffer.writeUInt16BE(v, this.#length);
    return this;
  }

  u32(v: number): this {
    this.#room(4);
    this.#length = this.#buffer.writeUInt32BE(v >>> 0, this.#length);
    return this;
  }

  bytes(v: Uint8Array): this {
    this.#room(v.length);
    this.#buffer.set(v, this.#length);
    this.#length += v.length;
    return this;
  }

  /** Latin-1 text without a terminator. */
  text(v: string): this {
    return this.bytes(Buffer.from(v, 'latin1'));
  }

  zeros(count: number): this {
    this.#room(count);
    this.#buffer.fill(0, this.#length, this.#length + count);
    this.#length += count;
    return this;
  }

  /** A view of what was written so far. */
  done(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #room(count: number): void {
    const need = this.#length + count;
    if (need <= this.#buffer.length) return;
    const grown = Buffer.alloc(Math.max(need, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}
