import { randomInt } from 'node:crypto';
import { closeSync, fsync, ftruncateSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { promisify } from 'node:util';
import { type Clock, EnvironmentError, errnoOf, InternalError, type Log } from '#base/mod.ts';
import { UserError } from '#base/mod.ts';
import { type DiskReport, inspectDisk, planPreset, type Preset, writePreset } from '#disk/mod.ts';
import { lockImage } from '#os/mod.ts';
import { checkExtension, imageShape } from './add-checks.ts';
import { copySparse, reflink } from './copy.ts';
import { DiskFile } from './disk-file.ts';
import { imageExists, imageUnknown } from './errors.ts';
import type { Image, ImageWork } from './image.ts';
import { beingMade, LibraryFolder, noSpace } from './library-folder.ts';
import { checkImageName, nameFromPath } from './names.ts';
import type { BuildRequest } from './recipes/debian-options.ts';
import { buildDebian } from './recipes/debian.ts';
import type { ImageRepository } from './repository.ts';

/**
 * The commit's own fsync runs on the main thread, which also answers DHCP: for large files this
 * one, in the thread pool, goes before it and leaves it nothing to do.
 */
const flush = promisify(fsync);

/** What the library is made of. */
export type LibraryOptions = {
  /** Absolute; the library's own files lie here. Made when absent. */
  readonly folder: string;
  /** Absolute; what builds keep to be faster the next time. Can be deleted at any time. */
  readonly cacheFolder: string;
  readonly repository: ImageRepository;
  readonly clock: Clock;
  readonly log: Log;
  /** Who uses an image now, in words for people ("machine pc-7"). Empty: nobody. */
  readonly usersOf: (name: string) => readonly string[];
};

/** An image with what only its file can tell. */
export type ImageDetails = {
  readonly image: Image;
  /** Bytes of disk space it takes; undefined for a device or a missing file. */
  readonly allocatedBytes?: number;
  /** False when the file or device is not there now. */
  readonly present: boolean;
  readonly users: readonly string[];
};

/**
 * The image library: every verb that makes, shows or removes an image. Each is all-or-nothing, even
 * under kill -9 (see `LibraryFolder`); long ones report progress and obey an AbortSignal.
 */
export class ImageLibrary {
  readonly #options: LibraryOptions;
  readonly #repository: ImageRepository;
  readonly #folder: LibraryFolder;
  /** Names being made or removed by this process. */
  readonly #busy = new Set<string>();

  private constructor(options: LibraryOptions) {
    this.#options = options;
    this.#repository = options.repository;
    this.#folder = new LibraryFolder(options.folder);
  }

  /** Opens the library and finishes or undoes what a killed process left. */
  static open(options: LibraryOptions): ImageLibrary {
    const library = new ImageLibrary(options);
    for (const action of library.#folder.recover(options.repository)) {
      options.log.warn({ action }, 'the image library was interrupted');
    }
    return library;
  }

  /** All images, by name. */
  list(): readonly Image[] {
    return this.#repository.list();
  }

  /** One image. Throws UserError `image-unknown`. */
  get(name: string): Image {
    const image = this.#repository.get(name);
    if (image === undefined) throw imageUnknown(name);
    return image;
  }

  /** One image with what its file tells. Throws UserError `image-unknown`. */
  show(name: string): ImageDetails {
    const image = this.get(name);
    const users = this.#options.usersOf(name);
    const stat = statSync(image.path, { throwIfNoEntry: false });
    if (stat === undefined) return { image, present: false, users };
    if (!stat.isFile()) return { image, present: true, users };
    return { image, present: true, users, allocatedBytes: stat.blocks * 512 };
  }

  /**
   * Adds a raw file, a CD image (named .iso) or a block device, used where it is and never deleted.
   * The name follows from the path when not given. Throws UserError.
   */
  add(path: string, options: { name?: string; note?: string } = {}): Image {
    if (!isAbsolute(path)) throw new InternalError(`"${path}" is not absolute`);
    checkExtension(path);
    const file = DiskFile.open(path);
    try {
      const shape = imageShape(path, file);
      // A second open: O_EXCL tells whether this computer itself uses the device.
      if (file.isBlockDevice) DiskFile.open(path, 'write').close();
      const real = realpathSync(path);
      const twin = this.list().find((i) => i.path === real);
      if (twin !== undefined) throw sameFile(path, twin.name);
      const name = options.name ?? nameFromPath(path);
      this.#checkNew(name);
      const image = this.#record(name, { ...shape, path: real, owned: false }, options.note);
      this.#repository.insert(image);
      return image;
    } finally {
      file.close();
    }
  }

  /**
   * Makes a blank disk: partitioned and formatted for DOS or Windows 9x, or an empty GPT. The size
   * becomes the nearest that the preset allows. Throws UserError `disk-size` and those of names.
   */
  create(
    name: string,
    options: { preset: Preset; sizeBytes: number; label?: string; note?: string },
  ): Image {
    const { preset } = options;
    this.#checkNew(name);
    const plan = planPreset(preset, options.sizeBytes);
    return this.#exclusively(name, () => {
      this.#folder.checkFree(name, 'raw');
      const fd = this.#folder.openPartial(name);
      try {
        ftruncateSync(fd, plan.sizeBytes);
        writePreset(DiskFile.of(fd), plan, {
          label: options.label ?? 'POLYBOOT',
          diskSignature: randomInt(1, 2 ** 32),
          serial: randomInt(1, 2 ** 32),
          timeMs: this.#options.clock.wallMs(),
        });
        return this.#commit(name, fd, plan.sizeBytes, `preset ${preset}`, options.note);
      } catch (e) {
        this.#folder.discard(name);
        throw this.#spaceError(e, `the image "${name}"`, plan.sizeBytes);
      } finally {
        closeSync(fd);
      }
    });
  }

  /**
   * Builds an image from a recipe. Rejects with UserError, EnvironmentError or the abort reason.
   */
  async build(name: string, request: BuildRequest, work: ImageWork = {}): Promise<Image> {
    this.#checkNew(name);
    return this.#exclusively(name, async () => {
      this.#folder.checkFree(name, 'raw');
      const fd = this.#folder.openPartial(name);
      try {
        const { cacheFolder, clock, log } = this.#options;
        const context = { fd, name, cacheFolder, clock, log, freeBytes: this.#folder.freeBytes() };
        const built = await buildDebian(request, context, work);
        work.progress?.({ phase: 'flush', line: 'waiting for the disk' });
        await flush(fd);
        return this.#commit(name, fd, built.sizeBytes, built.source, request.note);
      } catch (e) {
        this.#folder.discard(name);
        throw this.#spaceError(e, `the image "${name}"`, undefined);
      } finally {
        closeSync(fd);
      }
    });
  }

  /**
   * Copies an image: by sharing blocks where the file system can, else data only (holes stay
   * holes). The source must not be written meanwhile: UserError `image-in-use` says who does.
   */
  async clone(name: string, newName: string, work: ImageWork = {}): Promise<Image> {
    const source = this.get(name);
    this.#checkNew(newName);
    return this.#exclusively(newName, async () => {
      this.#folder.checkFree(newName, source.kind);
      const from = DiskFile.open(source.path);
      try {
        lockImage(from.fd, 'shared');
        return await this.#copy(source, from, newName, work);
      } catch (e) {
        throw this.#spaceError(e, `a copy of "${name}"`, source.sizeBytes);
      } finally {
        from.close();
      }
    });
  }

  /** Looks into an image: partitions, geometry, what boots, warnings. */
  inspect(name: string): DiskReport {
    const image = this.get(name);
    const file = DiskFile.open(image.path);
    try {
      return inspectDisk(file);
    } finally {
      file.close();
    }
  }

  /** Changes the note. */
  annotate(name: string, note: string | undefined): Image {
    const { note: _old, ...rest } = this.get(name);
    const image = note === undefined ? rest : { ...rest, note };
    this.#repository.update(image);
    return image;
  }

  /**
   * Removes an image; the file too when the library made it. Throws UserError `image-in-use` while
   * anybody uses it.
   */
  remove(name: string): void {
    const image = this.get(name);
    this.#exclusively(name, () => {
      const users = this.#options.usersOf(name);
      if (users.length > 0) throw inUse(name, users);
      const removeRecord = (): void => {
        this.#repository.remove(name);
      };
      if (!image.owned) {
        removeRecord();
        return;
      }
      this.#checkUnlocked(image);
      this.#folder.remove(name, image.path, removeRecord);
    });
  }

  async #copy(source: Image, from: DiskFile, name: string, work: ImageWork): Promise<Image> {
    this.#folder.clearPartial(name);
    const partial = this.#folder.partialOf(name);
    const shared = source.kind !== 'block' && (await reflink(source.path, partial));
    const fd = shared ? this.#folder.adoptPartial(name) : this.#folder.openPartial(name);
    try {
      if (!shared) {
        const allocated = statSync(source.path).blocks * 512;
        const needed = source.kind === 'block' ? 0 : Math.min(allocated, source.sizeBytes);
        this.#folder.checkSpace(needed, `a copy of "${source.name}"`);
        await copySparse(from.fd, fd, source.sizeBytes, {
          ...(work.signal === undefined ? {} : { signal: work.signal }),
          copied: (doneBytes) => {
            work.progress?.({ phase: 'copy', doneBytes, totalBytes: source.sizeBytes });
          },
        });
      }
      await flush(fd);
      work.signal?.throwIfAborted();
      const kind = source.kind === 'iso' ? 'iso' : 'raw';
      const { sizeBytes, blockBytes } = source;
      const path = this.#folder.fileOf(name, kind);
      const shape = { kind, sizeBytes, blockBytes, path, owned: true } as const;
      const image = this.#record(name, { ...shape, source: `clone of ${source.name}` });
      this.#folder.commit(fd, image, this.#repository);
      return image;
    } catch (e) {
      this.#folder.discard(name);
      throw e;
    } finally {
      closeSync(fd);
    }
  }

  #commit(name: string, fd: number, sizeBytes: number, source: string, note?: string): Image {
    const path = this.#folder.fileOf(name, 'raw');
    const shape = { kind: 'raw', sizeBytes, blockBytes: 512, path, owned: true, source } as const;
    const image = this.#record(name, shape, note);
    this.#folder.commit(fd, image, this.#repository);
    return image;
  }

  #record(name: string, shape: Omit<Image, 'name' | 'createdAtMs' | 'note'>, note?: string): Image {
    const createdAtMs = this.#options.clock.wallMs();
    return { name, ...shape, createdAtMs, ...(note === undefined ? {} : { note }) };
  }

  #checkNew(name: string): void {
    checkImageName(name);
    if (this.#repository.get(name) !== undefined) throw imageExists(name);
  }

  #checkUnlocked(image: Image): void {
    if (statSync(image.path, { throwIfNoEntry: false }) === undefined) return;
    const file = DiskFile.open(image.path, 'write');
    try {
      lockImage(file.fd, 'exclusive');
    } finally {
      file.close();
    }
  }

  /** Runs `work` while no other verb of this process may use the name. */
  #exclusively<T>(name: string, work: () => T): T {
    if (this.#busy.has(name)) throw beingMade(name);
    this.#busy.add(name);
    const free = (): void => {
      this.#busy.delete(name);
    };
    let result: T;
    try {
      result = work();
    } catch (e) {
      free();
      throw e;
    }
    if (result instanceof Promise) return result.finally(free) as T;
    free();
    return result;
  }

  #spaceError(e: unknown, what: string, neededBytes: number | undefined): unknown {
    const code = errnoOf(e);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return e;
    const { path } = this.#folder;
    if (neededBytes !== undefined)
      return noSpace(path, what, neededBytes, this.#folder.freeBytes());
    return new EnvironmentError('no-space', {
      what: `no space for ${what}`,
      why: `the disk of ${path} is full`,
      todo: 'remove images that are not needed, or use a folder on a larger disk',
    });
  }
}

function sameFile(path: string, name: string): UserError {
  return new UserError('conflict', 'image-exists', {
    what: `${path} is in the library already`,
    why: `its name there is "${name}"`,
    todo: 'use that image, or make a copy: polyboot image clone',
  });
}

function inUse(name: string, users: readonly string[]): UserError {
  return new UserError('conflict', 'image-in-use', {
    what: `the image "${name}" cannot be removed`,
    why: `it is used by ${users.join(', ')}`,
    todo: 'give those machines other drives first (polyboot machine set)',
  });
}
