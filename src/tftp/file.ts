import type { TftpClient } from './observer.ts';

/**
 * A file that is being served: it stays the same for the whole transfer, even when a new one takes
 * its name meanwhile.
 */
export interface TftpFile {
  readonly sizeBytes: number;
  /**
   * All of it, when it is held in memory. Transfers of the same array share one framed copy, so it
   * must never change.
   */
  readonly content?: Uint8Array;
  /**
   * Reads `lengthBytes` at `positionBytes` into `into[at…]` when that needs no disk: the bytes
   * read, or -1 for "not now, call `read`". Throws a system error.
   */
  readNow(into: Uint8Array, at: number, lengthBytes: number, positionBytes: number): number;
  /** The same, waiting for the disk off the event loop. Fewer bytes only at the end of the file. */
  read(into: Uint8Array, at: number, lengthBytes: number, positionBytes: number): Promise<number>;
  /** Called once, when the transfer is over. */
  close(): void;
}

/** Where the server gets its files from. */
export interface TftpFiles {
  /**
   * Opens the file of that name as `client` may see it. `name` is as the client sent it (one
   * character per byte, not normalised). Rejects with a UserError: `not-found` becomes ERROR 1,
   * `forbidden` ERROR 2, anything else ERROR 0.
   */
  open(name: string, client: TftpClient): Promise<TftpFile>;
}

/** A file from bytes in memory, such as a generated script. `content` must not change any more. */
export function memoryFile(content: Uint8Array): TftpFile {
  return {
    sizeBytes: content.length,
    content,
    readNow(into, at, lengthBytes, positionBytes) {
      const part = content.subarray(positionBytes, positionBytes + lengthBytes);
      into.set(part, at);
      return part.length;
    },
    read(into, at, lengthBytes, positionBytes) {
      return Promise.resolve(this.readNow(into, at, lengthBytes, positionBytes));
    },
    close() {},
  };
}
