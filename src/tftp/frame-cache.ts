import { frameWhole } from './blocks.ts';

/** What framed copies may take together. */
const LIMIT_BYTES = 64 * 1024 * 1024;
/**
 * Smaller blocks make the frame much larger than the file, and framing slow: those are streamed.
 */
const LEAST_BLOCK_BYTES = 512;

type Frame = Uint8Array<SharedArrayBuffer>;
type Entry = { readonly content: Uint8Array; readonly frame: Frame; users: number };

/**
 * Framed copies of files in memory, shared by the transfers of one content at one block size.
 * Frames in use are never dropped, so when all room is in use there is none: the caller streams
 * instead.
 */
export class FrameCache {
  readonly #limitBytes: number;
  readonly #entries = new Map<string, Entry>();
  readonly #numbers = new WeakMap<Uint8Array, number>();
  #nextNumber = 0;
  #heldBytes = 0;

  constructor(limitBytes: number = LIMIT_BYTES) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes held now, in use or not. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The frame and what gives it back (call it once), or undefined when there is no room. */
  acquire(
    content: Uint8Array,
    blockBytes: number,
  ): { readonly frame: Frame; readonly release: () => void } | undefined {
    if (blockBytes < LEAST_BLOCK_BYTES) return undefined;
    const key = `${this.#numberOf(content)}:${blockBytes}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const estimate = content.length + (content.length / blockBytes + 1) * 4;
      if (!this.#makeRoom(estimate)) return undefined;
      entry = { content, frame: frameWhole(content, blockBytes), users: 0 };
      this.#heldBytes += entry.frame.length;
    }
    // Last in the map: the most recently used.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.users += 1;
    const held = entry;
    return {
      frame: held.frame,
      release: () => {
        held.users -= 1;
      },
    };
  }

  #numberOf(content: Uint8Array): number {
    let number = this.#numbers.get(content);
    if (number === undefined) {
      number = this.#nextNumber++;
      this.#numbers.set(content, number);
    }
    return number;
  }

  #makeRoom(bytes: number): boolean {
    for (const [key, entry] of this.#entries) {
      if (this.#heldBytes + bytes <= this.#limitBytes) break;
      if (entry.users > 0) continue;
      this.#entries.delete(key);
      this.#heldBytes -= entry.frame.length;
    }
    return this.#heldBytes + bytes <= this.#limitBytes;
  }
}
