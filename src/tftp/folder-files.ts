import { constants, fstatSync, openSync, read as readFile } from 'node:fs';
import { close as closeFile, closeSync, readdir } from 'node:fs';
import { promisify } from 'node:util';
import { EnvironmentError, UserError, messageOf } from '#base/mod.ts';
import { openBeneath, preadNowait, supportsNowait } from '#os/mod.ts';
import { ContentCache } from './content-cache.ts';
import { memoryFile, type TftpFile, type TftpFiles } from './file.ts';
import { candidatePaths } from './names.ts';

const readAsync = promisify(readFile);
const listFolder = promisify(readdir);

/** Files up to this size are held in memory and shared: every loader and most kernels' configs. */
const SMALL_BYTES = 4 * 1024 * 1024;
/** Entries of one folder that a case-insensitive search looks at. */
const MOST_ENTRIES = 10_000;

/**
 * Serves what lies below one or several folders, in their order, and nothing else (`openBeneath`).
 * Names are taken as clients send them, see `candidatePaths`; when no spelling is found, upper and
 * lower case are the same. A file that is replaced by renaming keeps its old bytes for the
 * transfers that have it open.
 */
export class FolderFiles implements TftpFiles {
  readonly #roots: { readonly path: string; readonly fd: number }[] = [];
  readonly #cache = new ContentCache();

  /** Throws EnvironmentError `no-folder` when one of the folders cannot be opened. */
  constructor(folders: readonly string[]) {
    try {
      for (const path of folders) this.#roots.push({ path, fd: openFolder(path) });
    } catch (e) {
      this.close();
      throw e;
    }
  }

  async open(name: string): Promise<TftpFile> {
    const paths = candidatePaths(name);
    // A refusal in one folder does not hide the file in the next; but it is what we say at the end.
    let refusal: UserError | undefined;
    for (const anyCase of [false, true]) {
      for (const { fd: root } of this.#roots) {
        for (const path of paths) {
          try {
            const spelled = anyCase ? await findAnyCase(root, path) : path;
            if (spelled !== undefined) return await this.#serve(openBeneath(root, spelled));
          } catch (e) {
            if (!(e instanceof UserError)) throw e;
            if (e.kind !== 'not-found') refusal ??= e;
          }
        }
      }
    }
    throw refusal ?? new UserError('not-found', 'not-found', { what: 'there is no such file' });
  }

  /** Closes the folders; transfers that run keep their files. */
  close(): void {
    for (const { fd } of this.#roots.splice(0)) closeSync(fd);
  }

  async #serve(fd: number): Promise<TftpFile> {
    const stat = fstatSync(fd, { bigint: true });
    if (stat.size > BigInt(SMALL_BYTES)) return new OpenFile(fd, Number(stat.size));
    try {
      // Whoever writes over a file in place changes its time; a new file has another inode.
      const identity = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(':');
      return memoryFile(
        await this.#cache.get(identity, Number(stat.size), () => readWhole(fd, Number(stat.size))),
      );
    } finally {
      closeSync(fd);
    }
  }
}

function openFolder(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new EnvironmentError(
      'no-folder',
      {
        what: `the TFTP folder ${path} cannot be opened`,
        why: messageOf(cause),
        todo: 'create it, or name another one',
      },
      { cause },
    );
  }
}

async function readWhole(fd: number, sizeBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes);
  const { bytesRead } = await readAsync(fd, bytes, 0, sizeBytes, 0);
  return bytesRead === sizeBytes ? bytes : bytes.subarray(0, bytesRead);
}

/** The path as it is really spelled below `root`, or undefined. */
async function findAnyCase(root: number, path: string): Promise<string | undefined> {
  let found = '';
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') return undefined;
    const folder = openBeneath(root, found === '' ? '.' : found, { directory: true });
    try {
      const names = await listFolder(`/proc/self/fd/${folder}`);
      const wanted = part.toLowerCase();
      const match = names.slice(0, MOST_ENTRIES).find((n) => n.toLowerCase() === wanted);
      if (match === undefined) return undefined;
      found = found === '' ? match : `${found}/${match}`;
    } finally {
      closeSync(folder);
    }
  }
  return found === '' ? undefined : found;
}

/** A file too large for memory: read as it is sent, from the inode that was opened. */
class OpenFile implements TftpFile {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #nowait: boolean;
  #reads = 0;
  #closed = false;

  constructor(fd: number, sizeBytes: number) {
    this.#fd = fd;
    this.sizeBytes = sizeBytes;
    this.#nowait = supportsNowait(fd);
  }

  readNow(into: Uint8Array, at: number, lengthBytes: number, positionBytes: number): number {
    if (!this.#nowait) return -1;
    // A part that is resident, or any errno: the thread pool reads the rest, or meets the error.
    const got = preadNowait(this.#fd, into, at, lengthBytes, positionBytes);
    return got === lengthBytes ? got : -1;
  }

  async read(
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    positionBytes: number,
  ): Promise<number> {
    this.#reads += 1;
    try {
      let got = 0;
      while (got < lengthBytes) {
        const position = positionBytes + got;
        const part = await readAsync(this.#fd, into, at + got, lengthBytes - got, position);
        if (part.bytesRead === 0) break;
        got += part.bytesRead;
      }
      return got;
    } finally {
      this.#reads -= 1;
      this.#closeWhenIdle();
    }
  }

  close(): void {
    this.#closed = true;
    this.#closeWhenIdle();
  }

  /** Never under a read that still runs: its descriptor could belong to another file by then. */
  #closeWhenIdle(): void {
    if (this.#closed && this.#reads === 0) closeFile(this.#fd, () => {});
  }
}
