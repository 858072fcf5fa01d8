import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { invariant } from '#base/mod.ts';
import type { BlockDevice, BlockDone } from '../device.ts';
import { FilterDevice } from './base.ts';

const CIPHER = 'aes-256-xts';
/** Two AES-256 keys (IEEE 1619). */
const KEY_BYTES = 64;
const TWEAK_BYTES = 16;

/**
 * Where the key of a `CryptDevice` lives. `replace` makes a new one; it is answered when the old
 * one is nowhere any more.
 */
export interface KeyHolder {
  readonly key: Uint8Array;
  replace(done: BlockDone): void;
}

/** A key that is only in memory: what was written with it ends with the process. */
export class EphemeralKey implements KeyHolder {
  readonly key: Buffer = randomBytes(KEY_BYTES);

  replace(done: BlockDone): void {
    randomBytes(KEY_BYTES).copy(this.key);
    queueMicrotask(() => {
      done(null);
    });
  }
}

/**
 * Encrypts what lies below, each logical block for itself with its number as tweak. A block that is
 * all zeros below was never written and reads as zeros, so holes stay holes: real data encrypts to
 * that once in 2^4096 blocks. `cryptoErase` throws the key away, and with it all data at once.
 */
export class CryptDevice extends FilterDevice {
  readonly #keys: KeyHolder;
  readonly #tweak = Buffer.alloc(TWEAK_BYTES);
  readonly #zeros: Buffer;
  #scratch = Buffer.alloc(0);

  constructor(inner: BlockDevice, keys: KeyHolder) {
    super(inner);
    invariant(keys.key.length === KEY_BYTES, 'a key of 64 bytes');
    this.#keys = keys;
    this.#zeros = Buffer.alloc(inner.blockBytes);
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.inner.tryRead(offset, into, at, lengthBytes)) return false;
    this.#decrypt(offset, into, at, lengthBytes);
    return true;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.read(offset, into, at, lengthBytes, (error) => {
      if (error === null) this.#decrypt(offset, into, at, lengthBytes);
      done(error);
    });
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#scratch.length < lengthBytes) this.#scratch = Buffer.allocUnsafe(lengthBytes);
    this.#encrypt(offset, from, at, lengthBytes, this.#scratch);
    return this.inner.tryWrite(offset, this.#scratch, 0, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    // Writes may be on their way together: each has its own copy.
    const encrypted = Buffer.allocUnsafe(lengthBytes);
    this.#encrypt(offset, from, at, lengthBytes, encrypted);
    this.inner.write(offset, encrypted, 0, lengthBytes, done);
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    // Zeros below are zeros above, whatever the key.
    this.inner.writeZeroes(offset, lengthBytes, done);
  }

  /** Makes everything that was ever written unreadable, for good. */
  cryptoErase(done: BlockDone): void {
    this.#keys.replace(done);
  }

  #encrypt(offset: number, from: Uint8Array, at: number, length: number, into: Buffer): void {
    const { blockBytes } = this;
    for (let done = 0; done < length; done += blockBytes) {
      const cipher = createCipheriv(CIPHER, this.#keys.key, this.#tweakOf(offset + done));
      into.set(cipher.update(from.subarray(at + done, at + done + blockBytes)), done);
    }
  }

  #decrypt(offset: number, bytes: Uint8Array, at: number, length: number): void {
    const { blockBytes } = this;
    for (let done = 0; done < length; done += blockBytes) {
      const block = bytes.subarray(at + done, at + done + blockBytes);
      if (this.#zeros.equals(block)) continue;
      const cipher = createDecipheriv(CIPHER, this.#keys.key, this.#tweakOf(offset + done));
      block.set(cipher.update(block));
    }
  }

  /** The block's number, little-endian (IEEE 1619 §5.1). */
  #tweakOf(offset: number): Buffer {
    this.#tweak.writeDoubleLE(0, 8);
    this.#tweak.writeBigUInt64LE(BigInt(offset / this.blockBytes), 0);
    return this.#tweak;
  }
}
