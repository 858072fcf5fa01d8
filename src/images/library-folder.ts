import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync } from 'node:fs';
import { readdirSync, renameSync, rmSync, statfsSync, unlinkSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { EnvironmentError, errnoOf, formatBytes, invariant, messageOf } from '#base/mod.ts';
import { UserError } from '#base/mod.ts';
import { lockImage } from '#os/mod.ts';
import type { Image, ImageKind } from './image.ts';
import type { ImageRepository } from './repository.ts';

/**
 * The folder that holds the library's own files, and the protocol that makes every change of it
 * all-or-nothing, whenever the process is killed:
 *
 *   create: write `.NAME.partial`, fsync → insert the record → link to `NAME.img` → unlink partial
 *   remove: rename `NAME.img` to `.NAME.partial` → remove the record → unlink partial
 *
 * | found at start                            | meaning                        | done
 * | partial, no record                        | half written, or half removed  | partial deleted
 * | partial, record, no `NAME.img`            | complete, was to be linked; or | linked
 * |                                           | was not yet removed            |
 * | partial, record, `NAME.img`               | linked already                 | partial deleted
 * | partial, locked by a living process       | somebody's work                | left alone
 *
 * Nothing else in the folder is ever touched.
 */
export class LibraryFolder {
  readonly path: string;

  /** Makes the folder when it is not there. Throws EnvironmentError `library-folder`. */
  constructor(path: string) {
    invariant(isAbsolute(path), 'the library folder is an absolute path');
    this.path = path;
    try {
      mkdirSync(path, { recursive: true, mode: 0o755 });
    } catch (e) {
      throw new EnvironmentError('library-folder', {
        what: `the image folder ${path} cannot be made`,
        why: messageOf(e),
        todo: 'name another folder in the configuration, or give the right to this one',
      });
    }
  }

  /** Where the file of an image that we own lies. */
  fileOf(name: string, kind: ImageKind): string {
    return join(this.path, `${name}.${kind === 'iso' ? 'iso' : 'img'}`);
  }

  /** Where the file lies while it is written. */
  partialOf(name: string): string {
    return join(this.path, `.${name}.partial`);
  }

  /** Finishes or undoes what a killed process left. Returns what was done, for the log. */
  recover(repository: ImageRepository): string[] {
    const done: string[] = [];
    for (const entry of readdirSync(this.path)) {
      const name = /^\.(.+)\.partial$/.exec(entry)?.[1];
      if (name === undefined || this.#inUse(join(this.path, entry))) continue;
      const record = repository.get(name);
      const final = record?.owned === true ? record.path : undefined;
      if (final !== undefined && !existsSync(final)) {
        this.#publish(this.partialOf(name), final);
        done.push(`finished ${name}`);
      } else {
        unlinkSync(this.partialOf(name));
        done.push(`removed the unfinished ${name}`);
      }
    }
    if (done.length > 0) this.#sync();
    return done;
  }

  /**
   * Opens a fresh partial file, locked as ours. Throws UserError conflict when one is being made.
   */
  openPartial(name: string): number {
    this.clearPartial(name);
    // 0600: an image can hold passwords and keys.
    const fd = openSync(this.partialOf(name), 'wx+', 0o600);
    tryLock(fd);
    return fd;
  }

  /** Removes a stale partial file. Throws UserError conflict when it is somebody's work. */
  clearPartial(name: string): void {
    const path = this.partialOf(name);
    if (existsSync(path) && this.#inUse(path)) throw beingMade(name);
    rmSync(path, { force: true });
  }

  /** Takes over a partial file that another program has written. */
  adoptPartial(name: string): number {
    const fd = openSync(this.partialOf(name), 'r+');
    tryLock(fd);
    return fd;
  }

  /**
   * Throws UserError `file-in-the-way` when the name's file is there, though no record knows it.
   */
  checkFree(name: string, kind: ImageKind): void {
    const path = this.fileOf(name, kind);
    if (!existsSync(path)) return;
    throw new UserError('conflict', 'file-in-the-way', {
      what: `${path} is there already, and is no image of the library`,
      todo: `choose another name, move the file away, or use it: polyboot image add ${path}`,
    });
  }

  /**
   * Makes the partial file durable, then inserts the record, then gives the file its name. When the
   * last step fails, the record is taken back.
   */
  commit(fd: number, image: Image, repository: ImageRepository): void {
    fsyncSync(fd);
    this.#sync();
    repository.insert(image);
    try {
      this.#publish(this.partialOf(image.name), image.path);
    } catch (e) {
      repository.remove(image.name);
      throw e;
    }
    this.#sync();
  }

  /** Removes an image's file and record, all or nothing. */
  remove(name: string, final: string, removeRecord: () => void): void {
    const partial = this.partialOf(name);
    const there = existsSync(final);
    if (there) {
      renameSync(final, partial);
      this.#sync();
    }
    try {
      removeRecord();
    } catch (e) {
      if (there) renameSync(partial, final);
      throw e;
    }
    if (there) unlinkSync(partial);
    this.#sync();
  }

  /** Gives up a partial file. */
  discard(name: string): void {
    rmSync(this.partialOf(name), { force: true });
  }

  /** Bytes that can still be written here. */
  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Throws EnvironmentError `no-space` that says how much is needed and how much is there. */
  checkSpace(neededBytes: number, what: string): void {
    const free = this.freeBytes();
    if (neededBytes <= free) return;
    throw noSpace(this.path, what, neededBytes, free);
  }

  // link, not rename: it cannot replace a file that somebody has put there meanwhile.
  #publish(partial: string, final: string): void {
    try {
      linkSync(partial, final);
    } catch (e) {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(e) ?? '')) throw e;
      renameSync(partial, final); // a file system without hard links
      return;
    }
    unlinkSync(partial);
  }

  #inUse(path: string): boolean {
    const fd = openSync(path, 'r+');
    try {
      return !tryLock(fd);
    } finally {
      closeSync(fd);
    }
  }

  #sync(): void {
    const fd = openSync(this.path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

/** False when another process holds the file. A file system without locks counts as free. */
function tryLock(fd: number): boolean {
  try {
    lockImage(fd, 'exclusive');
    return true;
  } catch (e) {
    if (e instanceof UserError) return false;
    if (e instanceof EnvironmentError && e.code === 'no-locks') return true;
    throw e;
  }
}

/** Somebody else is at it. */
export function beingMade(name: string): UserError {
  return new UserError('conflict', 'image-busy', {
    what: `an image named "${name}" is being made or removed right now`,
    todo: 'wait for that to end, or choose another name',
  });
}

/** The folder's disk is too full. */
export function noSpace(
  folder: string,
  what: string,
  neededBytes: number,
  freeBytes: number,
): EnvironmentError {
  return new EnvironmentError('no-space', {
    what: `no space for ${what}`,
    why: `it needs ${formatBytes(neededBytes)}, ${folder} has ${formatBytes(freeBytes)} left`,
    todo: 'remove images that are not needed, or use a folder on a larger disk',
  });
}
