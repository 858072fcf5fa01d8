import { constants, fstatSync, openSync, read as readFile } from 'node:fs';
import { closeSync, readdir } from 'node:fs';
import { promisify } from 'node:util';
import { EnvironmentError, UserError, messageOf } from '#base/mod.ts';
import { openBeneath } from '#os/mod.ts';
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
    if (stat.size > BigInt(SMALL_BYTES)) {
      const close = (): void => {
        closeSync(fd);
      };
      return { sizeBytes: Number(stat.size), fd, close };
    }
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
  const bytes = new Uint8Array(new SharedArrayBuffer(sizeBytes));
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
