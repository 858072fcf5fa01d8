import { closeSync, fstatSync, openSync, read as readFile, statfsSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { EnvironmentError, UserError, errnoOf } from '#base/mod.ts';
import type { Clock } from '#base/mod.ts';
import { openBeneath, preadNowait, supportsNowait } from '#os/mod.ts';
import { formatHttpDate } from './condition.ts';
import { contentTypeOf } from './content-type.ts';
import type { BodyFacts } from './respond.ts';

/**
 * Open files of the boot listener. A file is opened once and shared by all who read it; it is
 * looked up again (openat2 below its root) when the last look is older than `RECHECK_MS`, and an
 * entry whose device, inode, size or time changed is dropped. Whoever reads the old one keeps its
 * inode to the end (hostile case 17). Contents are not kept: the page cache has them, and sendfile
 * from there is faster than a write from our own memory (bench/http.ts).
 */
/** The time within which a replaced file may still be served as it was. */
const RECHECK_MS = 100;
/** Files kept open while nobody reads them: a boot needs about five. */
const OPEN_FILES = 256;
const TMPFS_MAGIC = 0x01021994;
/** Distance of the probes for residency: half of the kernel's usual readahead of 128 KiB. */
const PROBE_BYTES = 64 * 1024;
/** What is probed together, and for how long it is believed: four probes cost 4 µs. */
const REGION_BYTES = 256 * 1024;
const RESIDENT_MS = 1000;
/** Regions remembered per file: 65,536 × 256 KiB = 16 GiB of file in 512 KiB of table. */
const REGIONS = 65_536;

/** Where probed bytes go; nobody reads them. */
const PROBE = Buffer.allocUnsafeSlow(8);

/** One open file, shared. `retain` it while its bytes are on their way. */
export class OpenFile {
  readonly fd: number;
  readonly facts: BodyFacts;
  readonly identity: string;
  readonly nowait: boolean;
  /** Lives in memory by construction (tmpfs), where `preadNowait` has no meaning. */
  readonly inMemory: boolean;
  checkedMs: number;
  readonly #clock: Clock;
  #probedMs: Float64Array | undefined;
  #references = 1;

  constructor(fd: number, stat: BigIntStats, path: string, clock: Clock) {
    this.fd = fd;
    this.#clock = clock;
    this.identity = identityOf(stat);
    this.checkedMs = clock.monotonicMs();
    this.nowait = supportsNowait(fd);
    this.inMemory = !this.nowait && statfsSync(`/proc/self/fd/${fd}`).type === TMPFS_MAGIC;
    this.facts = {
      sizeBytes: Number(stat.size),
      contentType: contentTypeOf(path),
      modifiedMs: Number(stat.mtimeMs),
      lastModified: formatHttpDate(Number(stat.mtimeMs)),
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
   * Whether these bytes can be had without a disk: seen by reading one byte every 64 KiB, and
   * believed for a second. What the kernel drops in between costs one disk read on the main thread.
   */
  resident(position: number, length: number): boolean {
    if (this.inMemory) return true;
    if (!this.nowait) return false;
    const now = this.#clock.monotonicMs();
    const last = Math.floor((position + length - 1) / REGION_BYTES);
    for (let region = Math.floor(position / REGION_BYTES); region <= last; region++) {
      if (!this.#regionResident(region, now)) return false;
    }
    return true;
  }

  #regionResident(region: number, now: number): boolean {
    this.#probedMs ??= new Float64Array(
      Math.min(REGIONS, Math.ceil(this.facts.sizeBytes / REGION_BYTES)),
    ).fill(-RESIDENT_MS);
    // A region past the table (files over 16 GiB) reads undefined: probed each time.
    if (now - (this.#probedMs[region] ?? -RESIDENT_MS) < RESIDENT_MS) return true;
    const start = region * REGION_BYTES;
    const last = Math.min(start + REGION_BYTES, this.facts.sizeBytes) - 1;
    for (let at = start; at < last; at += PROBE_BYTES) {
      if (preadNowait(this.fd, PROBE, 0, 1, at) !== 1) return false;
    }
    if (preadNowait(this.fd, PROBE, 0, 1, last) !== 1) return false;
    if (region < this.#probedMs.length) this.#probedMs[region] = now;
    return true;
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
  readonly #clock: Clock;
  /** Least recently checked first. */
  readonly #files = new Map<string, OpenFile>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The file `path` below the folder `root`. The caller releases it. Throws UserError `not-found`
   * or `forbidden`, EnvironmentError when the root itself cannot be opened.
   */
  open(root: string, path: string): OpenFile {
    const key = `${root}\0${path}`;
    const now = this.#clock.monotonicMs();
    const known = this.#files.get(key);
    if (known !== undefined && now - known.checkedMs < RECHECK_MS) {
      known.retain();
      return known;
    }
    return this.#lookUp(key, root, path, now);
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
    const file = new OpenFile(fd, stat, path, this.#clock);
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
    file.release();
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
