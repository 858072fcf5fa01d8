/** What all cached files together may take: dozens of loaders. */
const CACHE_BYTES = 64 * 1024 * 1024;

/**
 * Small files by identity, least recently used out first. Readers that arrive together share one
 * read, and all get the same array.
 */
export class ContentCache {
  readonly #limitBytes: number;
  readonly #entries = new Map<string, { sizeBytes: number; content: Promise<Uint8Array> }>();
  #heldBytes = 0;

  constructor(limitBytes: number = CACHE_BYTES) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes held now. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The content of that identity; `read` is called when it is not held. */
  get(identity: string, sizeBytes: number, read: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#entries.get(identity);
    if (known !== undefined) {
      this.#entries.delete(identity);
      this.#entries.set(identity, known);
      return known.content;
    }
    const content = read();
    this.#entries.set(identity, { sizeBytes, content });
    this.#heldBytes += sizeBytes;
    content.catch(() => {
      this.#drop(identity);
    });
    for (const oldest of this.#entries.keys()) {
      if (this.#heldBytes <= this.#limitBytes || oldest === identity) break;
      this.#drop(oldest);
    }
    return content;
  }

  #drop(identity: string): void {
    const entry = this.#entries.get(identity);
    if (entry === undefined) return;
    this.#entries.delete(identity);
    this.#heldBytes -= entry.sizeBytes;
  }
}
