import type { TftpClient } from './observer.ts';

/**
 * A file that is being served: in memory, or open. It stays the same for the whole transfer, even
 * when a new one takes its name meanwhile.
 */
export type TftpFile = {
  readonly sizeBytes: number;
  /** Called once, when the transfer is over. */
  readonly close: () => void;
} & (
  | {
      /** All of it, in shared memory (see `memoryFile`): transfers of the same array share it. */
      readonly content: Uint8Array<SharedArrayBuffer>;
    }
  | {
      /** Open for reading, a regular file of `sizeBytes`. */
      readonly fd: number;
    }
);

/** Where the server gets its files from. */
export interface TftpFiles {
  /**
   * Opens the file of that name as `client` may see it. `name` is as the client sent it (one
   * character per byte, not normalised). Rejects with a UserError: `not-found` becomes ERROR 1,
   * `forbidden` ERROR 2, anything else ERROR 0.
   */
  open(name: string, client: TftpClient): Promise<TftpFile>;
}

/**
 * A file from bytes in memory, such as a generated script. They are copied, unless shared already.
 */
export function memoryFile(content: Uint8Array): TftpFile {
  return { sizeBytes: content.length, content: shared(content), close() {} };
}

function shared(bytes: Uint8Array): Uint8Array<SharedArrayBuffer> {
  if (isShared(bytes)) return bytes;
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

function isShared(bytes: Uint8Array): bytes is Uint8Array<SharedArrayBuffer> {
  return bytes.buffer instanceof SharedArrayBuffer;
}
