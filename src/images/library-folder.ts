import { chmodSync, closeSync, existsSync, fsyncSync, linkSync, lstatSync } from 'node:fs';
import {
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { EnvironmentError, errnoOf, formatBytes, invariant, messageOf } from '#base/mod.ts';
import { UserError } from '#base/mod.ts';
import { lockImage } from '#os/mod.ts';
import type { Layer, LayerFormat } from './layer.ts';
import type { ImageRepository } from './repository.ts';

/** What one change does to the files of the folder, before and after its records are written. */
export type FolderChange = {
  /** Layers whose files are written and flushed under their partial names. */
  readonly add: readonly Pick<Layer, 'id' | 'path'>[];
  /** Owned layers whose files go. */
  readonly remove: readonly Pick<Layer, 'id' | 'path'>[];
  /** False: nothing of this must outlive a power cut. */
  readonly durable?: boolean;
};

/**
 * The folder that holds the library's own files, and the protocol that makes every change of it
 * all-or-nothing, whenever the process is killed:
 *
 *   write `.ID.partial`, fsync → link it to its name → rename what goes to `.ID.removed` → records
 *   (one transaction) → unlink `.ID.partial` and `.ID.removed`
 *
 * | found at start                       | meaning                      | done
 * | `.ID.partial`, no record             | half written, or not linked  | it and its link deleted
 * | `.ID.partial`, record                | all done but the tidying     | partial deleted; linked
 * |                                      |                              | first if it has no name
 * | `.ID.removed`, record                | was not removed              | has its name again
 * | `.ID.removed`, no record             | all done but the tidying     | deleted
 * | `.ID.elsewhere`                      | names a half written file    | both deleted
 * |                                      | outside this folder          |
 * | any, locked by a living process      | somebody's work              | left alone
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

  /**
   * Where the file of a new layer will lie: `NAME.img` while that is free, for people who look into
   * the folder; else with the layer's id in it. Throws UserError `file-in-the-way` when a file
   * lies there that no layer knows.
   */
  pathFor(name: string, layer: Pick<Layer, 'id' | 'format'>, repository: ImageRepository): string {
    const ending = ENDING[layer.format] ?? 'img';
    const unique = join(this.path, `${name}.${layer.id}.${ending}`);
    const plain = join(this.path, `${name}.${ending}`);
    const taken = repository.layers().some((known) => known.path === plain);
    if (layer.format === 'qcow2' || taken) return unique;
    if (!isTaken(plain)) return plain;
    throw new UserError('conflict', 'file-in-the-way', {
      what: `${plain} is there already, and is no image of the library`,
      todo: `choose another name, move the file away, or use it: polyboot image add ${plain}`,
    });
  }

  /** Where the file of a layer lies while it is written. */
  partialOf(id: string): string {
    return join(this.path, `.${id}.partial`);
  }

  /** Finishes or undoes what a killed process left. Returns what was done, for the log. */
  recover(repository: ImageRepository): string[] {
    const done: string[] = [];
    for (const entry of readdirSync(this.path)) {
      const [, id = '', state] = /^\.(.+)\.(partial|removed|elsewhere)$/.exec(entry) ?? [];
      const path = join(this.path, entry);
      if (state === undefined || this.#inUse(path)) continue;
      if (state === 'elsewhere') {
        done.push(forgetElsewhere(path, id));
        continue;
      }
      // Before there were layers, a partial file was called after its image.
      const layer = repository.layer(id) ?? layerOfImage(repository, id);
      const owned = layer?.owned === true ? layer : undefined;
      if (state === 'removed') done.push(restore(path, owned));
      else done.push(this.#settle(path, owned));
    }
    for (const layer of repository.layers()) {
      if (thaw(layer)) done.push(`made ${layer.path} writable again`);
    }
    if (done.length > 0) this.#sync();
    return done;
  }

  /** Opens a fresh partial file, locked as ours. 0600: an image can hold passwords and keys. */
  openPartial(id: string): number {
    const fd = openSync(this.partialOf(id), 'wx+', 0o600);
    tryLock(fd);
    return fd;
  }

  /** Takes over a partial file that something else has written. */
  adoptPartial(id: string): number {
    const fd = openSync(this.partialOf(id), 'r+');
    tryLock(fd);
    return fd;
  }

  /**
   * Runs `write` with the name of a new file beside `path`, outside this folder, then gives it that
   * name, which must be free. Nothing is left of it when `write` fails or the process is killed.
   */
  async elsewhere(
    id: string,
    path: string,
    write: (partial: string) => Promise<void>,
  ): Promise<void> {
    const partial = join(dirname(path), elsewhereName(path, id));
    const journal = join(this.path, `.${id}.elsewhere`);
    try {
      writeFileSync(journal, partial, { flush: true });
      await write(partial);
      syncPath(partial);
      linkOrRename(partial, path);
      syncPath(dirname(path));
    } finally {
      rmSync(partial, { force: true });
      rmSync(journal, { force: true });
    }
  }

  /**
   * Gives the new files their names, takes the old ones away, and writes the records in between.
   * When `record` throws, or anything before it, all is as it was.
   */
  commit(change: FolderChange, record: () => void): void {
    const { add, remove, durable = true } = change;
    const undo: (() => void)[] = [];
    const later: (() => void)[] = [];
    try {
      for (const { id, path } of add) {
        const partial = this.partialOf(id);
        if (publish(partial, path)) {
          undo.push(() => rmSync(path, { force: true }));
          later.push(() => rmSync(partial, { force: true }));
        } else {
          refuseTaken(path);
          later.push(() => {
            renameSync(partial, path);
          });
        }
      }
      for (const { id, path } of remove) {
        if (!existsSync(path)) continue;
        const removed = join(this.path, `.${id}.removed`);
        renameSync(path, removed);
        undo.push(() => {
          renameSync(removed, path);
        });
        later.push(() => rmSync(removed, { force: true }));
      }
      if (durable && undo.length > 0) this.#sync();
      record();
    } catch (e) {
      for (const back of undo.toReversed()) back();
      throw e;
    }
    for (const tidy of later) tidy();
  }

  /** Gives up a partial file. */
  discard(id: string): void {
    rmSync(this.partialOf(id), { force: true });
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

  /** A partial file with a record is finished; one without goes, and so does the name it had. */
  #settle(partial: string, owned: Layer | undefined): string {
    if (owned !== undefined) {
      if (!existsSync(owned.path)) linkOrRename(partial, owned.path);
      rmSync(partial, { force: true });
      return `finished ${owned.path}`;
    }
    const { ino, nlink } = statSync(partial);
    if (nlink > 1) {
      for (const entry of readdirSync(this.path)) {
        const path = join(this.path, entry);
        if (path !== partial && statSync(path, { throwIfNoEntry: false })?.ino === ino)
          unlinkSync(path);
      }
    }
    unlinkSync(partial);
    return `removed the unfinished ${partial}`;
  }

  #inUse(path: string): boolean {
    const fd = openSync(path, 'r');
    try {
      return !tryLock(fd);
    } finally {
      closeSync(fd);
    }
  }

  #sync(): void {
    syncPath(this.path);
  }
}

/** Makes a file, or the names in a folder, durable. */
export function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Ending of a file that lies beside a file that is written elsewhere, for as long as that takes.
 */
export const UNPACKED = '.unpacked';

function elsewhereName(path: string, id: string): string {
  return `.${basename(path)}.${id}.partial`;
}

/** Removes the file that the journal names, if its name is one that we give. */
function forgetElsewhere(journal: string, id: string): string {
  const partial = readFileSync(journal, 'utf8');
  if (isAbsolute(partial) && basename(partial).endsWith(`.${id}.partial`)) {
    for (const name of [partial, `${partial}${UNPACKED}`]) rmSync(name, { force: true });
  }
  unlinkSync(journal);
  return `removed the unfinished ${partial}`;
}

const ENDING: Readonly<Partial<Record<LayerFormat, string>>> = { iso: 'iso', qcow2: 'qcow2' };
const WRITABLE = 0o200;

function layerOfImage(repository: ImageRepository, name: string): Layer | undefined {
  const image = repository.get(name);
  return image === undefined ? undefined : repository.layer(image.head);
}

function restore(removed: string, owned: Layer | undefined): string {
  if (owned === undefined) {
    unlinkSync(removed);
    return `removed ${removed}`;
  }
  if (existsSync(owned.path)) unlinkSync(removed);
  else renameSync(removed, owned.path);
  return `kept ${owned.path}`;
}

/** A file that was made read-only, and then its layer was not frozen after all. */
function thaw(layer: Layer): boolean {
  return layer.frozen === undefined && layer.owned && unfreeze(layer.path);
}

/** Lets the owner write the file again; false when he could, or when it is not there. */
export function unfreeze(path: string): boolean {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode;
  if (mode === undefined || (mode & WRITABLE) !== 0) return false;
  chmodSync(path, (mode & 0o777) | WRITABLE);
  return true;
}

/** Takes everybody's right to write away. */
export function makeReadOnly(path: string): void {
  chmodSync(path, statSync(path).mode & 0o444);
}

/**
 * Links, not renames: that cannot replace a file that somebody has put there meanwhile. False where
 * the file system has no hard links: then the name comes after the record.
 */
function publish(partial: string, final: string): boolean {
  try {
    linkSync(partial, final);
    return true;
  } catch (e) {
    if (errnoOf(e) === 'EEXIST') refuseTaken(final);
    if (!NO_LINKS.has(errnoOf(e) ?? '')) throw e;
    return false;
  }
}

/** Whether something has that name; also a symbolic link that leads nowhere. */
export function isTaken(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** A file that somebody has put there meanwhile is not replaced. */
function refuseTaken(path: string): void {
  if (!isTaken(path)) return;
  throw new UserError('conflict', 'file-in-the-way', {
    what: `${path} is there already`,
    why: 'it was made in the meantime',
    todo: 'name another file, or remove that one, and try again',
  });
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

function linkOrRename(partial: string, final: string): void {
  if (publish(partial, final)) return;
  refuseTaken(final);
  renameSync(partial, final);
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
