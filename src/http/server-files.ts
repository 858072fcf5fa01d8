import { closeSync, fstatSync, openSync, read as readFile } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { EnvironmentError, UserError, errnoOf } from '#base/mod.ts';
import type { Clock } from '#base/mod.ts';
import { openBeneath, preadNowait, supportsNowait } from '#os/mod.ts';
import { contentTypeOf } from './content-type.ts';
import { LIMITS } from './limits.ts';
import type { BodyFacts } from './respond.ts';

/**
 * Open files of the boot listener. A file is opened once and shared by all who read it; it is
 * looked up again (openat2 below its root) when the last look is older than `recheckMs`, and an
 * entry whose device, inode, size or time changed is dropped. Whoever reads the old one keeps its
 * inode to the end (ADVERSARIES 17). Files that were served once in full are kept in memory, within
 * a budget: one write from memory is 1.5 times the speed of a read and a write (bench/http.ts).
 */
export type FileStoreOptions = {
  readonly clock: Clock;
  /** Memory for whole files; 0 = none. */
  readonly cacheBytes: number;
  /** Larger files are never kept in memory. */
  readonly cachedFileBytes: number;
};

/** The time within which a replaced file may still be served as it was. */
const RECHECK_MS = 100;
/** Files kept open while nobody reads them: a boot needs about five. */
const OPEN_FILES = 256;

/** One open file, shared. `retain` it while its bytes are on their way. */
export class OpenFile {
  readonly fd: number;
  readonly facts: BodyFacts;
  readonly identity: string;
  readonly nowait: boolean;
  /** The whole content, once it is worth it. */
  memory: Buffer | undefined;
  /** Bytes served so far: what decides whether the file goes into memory. */
  servedBytes = 0;
  checkedMs: number;
  #references = 1;

  constructor(fd: number, stat: BigIntStats, path: string, nowMs: number) {
    this.fd = fd;
    this.identity = identityOf(stat);
    this.checkedMs = nowMs;
    this.nowait = supportsNowait(fd);
    this.facts = {
      sizeBytes: Number(stat.size),
      contentType: contentTypeOf(path),
      modifiedMs: Number(stat.mtimeMs),
      etag: `"${[stat.ino, stat.size, stat.mtimeNs].map((n) => n.toString(36)).join('-')}"`,
    };
  }

  retain(): void {
    this.#references += 1;
  }

  release(): void {
    this.#references -= 1;
    if (this.#references === 0) closeSync(this.fd);
  }

  /**
   * Reads into `into[at … at + length]` at once if the page cache has it (a number: bytes, or a
   * negative errno), otherwise through the thread pool, so that a slow disk delays nobody else.
   */
  read(
    into: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null, bytes: number) => void,
  ): number | undefined {
    if (this.nowait) {
      const got = preadNowait(this.fd, into, at, length, position);
      if (got > 0) return got;
      if (got === 0) return 0;
    }
    readFile(this.fd, into, at, length, position, done);
    return undefined;
  }
}

/** Opens, shares and remembers files. */
export class FileStore {
  readonly #options: FileStoreOptions;
  /** Least recently checked first. */
  readonly #files = new Map<string, OpenFile>();
  #memoryBytes = 0;

  constructor(options: FileStoreOptions) {
    this.#options = options;
  }

  /** Bytes of files held in memory. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /**
   * The file `path` below the folder `root`. The caller releases it. Throws UserError `not-found`
   * or `forbidden`, EnvironmentError when the root itself cannot be opened.
   */
  open(root: string, path: string): OpenFile {
    const key = `${root}\0${path}`;
    const now = this.#options.clock.monotonicMs();
    const known = this.#files.get(key);
    if (known !== undefined && now - known.checkedMs < RECHECK_MS) {
      known.retain();
      return known;
    }
    return this.#lookUp(key, root, path, now);
  }

  /** Counts what was served of a file, and loads it once it was served in full. */
  served(file: OpenFile, bytes: number): void {
    const { cacheBytes, cachedFileBytes } = this.#options;
    const size = file.facts.sizeBytes;
    const before = file.servedBytes;
    file.servedBytes += bytes;
    const due = before < size && file.servedBytes >= size;
    if (!due || size === 0 || size > Math.min(cachedFileBytes, cacheBytes)) return;
    this.#makeRoom(size);
    this.#memoryBytes += size;
    file.retain();
    loadWhole(file, (content) => {
      // Changed while it was read, or dropped meanwhile: not worth keeping.
      const current = [...this.#files.values()].includes(file);
      if (content === undefined || !current) this.#memoryBytes -= size;
      else file.memory = content;
      file.release();
    });
  }

  /** Forgets everything; files still being read close when their readers end. */
  close(): void {
    for (const key of this.#files.keys()) this.#drop(key);
  }

  #lookUp(key: string, root: string, path: string, now: number): OpenFile {
    const fd = this.#openFresh(key, root, path);
    const stat = fstatSync(fd, { bigint: true });
    const known = this.#files.get(key);
    if (known?.identity === identityOf(stat)) {
      closeSync(fd);
      known.checkedMs = now;
      this.#files.delete(key);
      this.#files.set(key, known);
      known.retain();
      return known;
    }
    if (known !== undefined) this.#drop(key);
    for (const oldest of this.#files.keys()) {
      if (this.#files.size < OPEN_FILES) break;
      this.#drop(oldest);
    }
    const file = new OpenFile(fd, stat, path, now);
    this.#files.set(key, file);
    file.retain();
    return file;
  }

  #openFresh(key: string, root: string, path: string): number {
    const rootFd = openRoot(root);
    try {
      return openBeneath(rootFd, path.replace(/^\/+/, ''));
    } catch (e) {
      this.#drop(key);
      throw e;
    } finally {
      closeSync(rootFd);
    }
  }

  #drop(key: string): void {
    const file = this.#files.get(key);
    if (file === undefined) return;
    this.#files.delete(key);
    if (file.memory !== undefined) this.#memoryBytes -= file.facts.sizeBytes;
    file.release();
  }

  /** Drops the memory of those looked up longest ago until `bytes` fit. */
  #makeRoom(bytes: number): void {
    for (const file of this.#files.values()) {
      if (this.#memoryBytes + bytes <= this.#options.cacheBytes) return;
      if (file.memory === undefined) continue;
      file.memory = undefined;
      file.servedBytes = 0;
      this.#memoryBytes -= file.facts.sizeBytes;
    }
  }
}

function openRoot(root: string): number {
  try {
    return openSync(root, 'r');
  } catch (cause) {
    const missing = errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR';
    if (missing) throw new UserError('not-found', 'not-found', { what: `no folder ${root}` });
    throw new EnvironmentError(
      'boot-folder',
      { what: `cannot open the folder ${root}`, why: errnoOf(cause) ?? 'unknown' },
      { cause },
    );
  }
}

function identityOf(stat: BigIntStats): string {
  return `${stat.dev}-${stat.ino}-${stat.size}-${stat.mtimeNs}`;
}

/** Reads a whole file through the thread pool; undefined when it is not what it was. */
function loadWhole(file: OpenFile, done: (content: Buffer | undefined) => void): void {
  const content = Buffer.allocUnsafeSlow(file.facts.sizeBytes);
  let at = 0;
  const step = (error: Error | null, bytes: number): void => {
    at += bytes;
    if (error !== null || bytes === 0) return done(undefined);
    if (at < content.length) return next();
    const unchanged = identityOf(fstatSync(file.fd, { bigint: true })) === file.identity;
    done(unchanged ? content : undefined);
  };
  const next = (): void => {
    readFile(file.fd, content, at, Math.min(LIMITS.chunkBytes, content.length - at), at, step);
  };
  next();
}
