const PAGE_BYTES = 4096;

/**
 * A file's bytes, in pages that copies share until one of them writes: a simulation copies files
 * all the time and changes little of them.
 */
export class Content {
  #pages: (Buffer | undefined)[] = [];
  #owned = new Set<number>();
  #length = 0;

  /** Bytes; what is read beyond is zeros. */
  get length(): number {
    return this.#length;
  }

  static of(bytes: Uint8Array): Content {
    const content = new Content();
    content.write(0, bytes);
    return content;
  }

  copy(): Content {
    const other = new Content();
    other.#pages = [...this.#pages];
    other.#length = this.#length;
    this.#owned.clear();
    return other;
  }

  read(position: number, into: Uint8Array, at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const { page, within, length } = pieceAt(position + done, lengthBytes - done);
      const bytes = this.#pages[page];
      if (bytes === undefined) into.fill(0, at + done, at + done + length);
      else into.set(bytes.subarray(within, within + length), at + done);
      done += length;
    }
  }

  /** Makes the file longer where it must. */
  write(position: number, from: Uint8Array): void {
    for (let done = 0; done < from.length;) {
      const { page, within, length } = pieceAt(position + done, from.length - done);
      this.#own(page).set(from.subarray(done, done + length), within);
      done += length;
    }
    this.#length = Math.max(this.#length, position + from.length);
  }

  /** Zeros, within the length that there is. */
  clear(position: number, lengthBytes: number): void {
    const end = Math.min(position + lengthBytes, this.#length);
    for (let at = position; at < end;) {
      const { page, within, length } = pieceAt(at, end - at);
      if (length === PAGE_BYTES) this.#pages[page] = undefined;
      else if (this.#pages[page] !== undefined) this.#own(page).fill(0, within, within + length);
      at += length;
    }
  }

  /** Longer with zeros, or shorter. */
  resize(length: number): void {
    if (length < this.#length) this.clear(length, this.#length - length);
    this.#length = length;
  }

  bytes(): Buffer {
    const all = Buffer.alloc(this.#length);
    this.read(0, all, 0, all.length);
    return all;
  }

  #own(page: number): Buffer {
    const there = this.#pages[page];
    if (there !== undefined && this.#owned.has(page)) return there;
    const mine = Buffer.alloc(PAGE_BYTES);
    if (there !== undefined) mine.set(there);
    this.#pages[page] = mine;
    this.#owned.add(page);
    return mine;
  }
}

function pieceAt(position: number, most: number): { page: number; within: number; length: number } {
  const within = position % PAGE_BYTES;
  const length = Math.min(PAGE_BYTES - within, most);
  return { page: (position - within) / PAGE_BYTES, within, length };
}
