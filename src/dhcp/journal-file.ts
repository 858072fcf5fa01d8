import { constants } from 'node:fs';
import { open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EnvironmentError, errnoOf, messageOf } from '#base/mod.ts';

/** One generation of the journal, open for writing. Every write is durable when it is answered. */
export interface JournalFile {
  write(bytes: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** Where journals live; the real one is a path, tests have one that fails on demand. */
export interface JournalStore {
  /** All bytes, or undefined when there is no journal yet. */
  read(): Promise<Buffer | undefined>;
  /** Puts a new generation in the place of the old, durably, and leaves it open. */
  replace(content: AsyncIterable<Uint8Array>): Promise<JournalFile>;
}

const { O_CREAT, O_DSYNC, O_RDWR, O_TRUNC } = constants;

/**
 * A journal at `path`. Opened O_DSYNC: one system call writes and waits for the disk, as write and
 * fdatasync would, with one trip to the thread pool instead of two.
 */
export class PathStore implements JournalStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#path);
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return undefined;
      throw this.#error('cannot read', e);
    }
  }

  async replace(content: AsyncIterable<Uint8Array>): Promise<JournalFile> {
    const fresh = `${this.#path}.new`;
    try {
      await writeAll(fresh, content);
      // The handle is opened before the rename: nothing can fail between it and the first write.
      const handle = await open(fresh, O_RDWR | O_DSYNC);
      await rename(fresh, this.#path);
      await syncFolder(dirname(this.#path));
      return new HandleFile(handle);
    } catch (e) {
      throw this.#error('cannot write', e);
    }
  }

  #error(what: string, e: unknown): EnvironmentError {
    return new EnvironmentError(
      'dhcp-journal',
      {
        what: `${what} the lease journal ${this.#path}`,
        why: messageOf(e),
        todo: 'make its folder writable and see that the disk is not full',
      },
      { cause: e },
    );
  }
}

async function writeAll(path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  const handle = await open(path, O_RDWR | O_CREAT | O_TRUNC, 0o640);
  try {
    let position = 0;
    for await (const chunk of content) {
      await writeFully(handle, chunk, position);
      position += chunk.length;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Renames are durable only when their folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

class HandleFile implements JournalFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return writeFully(this.#handle, bytes, position);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
