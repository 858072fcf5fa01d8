import { randomBytes } from 'node:crypto';
import { fsync } from 'node:fs';
import { promisify } from 'node:util';
import { type Clock, EnvironmentError, errnoOf, type Log, messageOf } from '#base/mod.ts';
import type { Holder } from '#machines/mod.ts';
import { imageExists, imageUnknown, inUseNow, pointUnknown } from './errors.ts';
import type { Image } from './image.ts';
import { Jobs } from './jobs.ts';
import type { ImagePoint, Layer, MachineOverlay } from './layer.ts';
import { LibraryFolder, noSpace, unfreeze } from './library-folder.ts';
import type { LiveDisks } from './live-disks.ts';
import { MirroredRepository } from './mirrored-repository.ts';
import { checkImageName } from './names.ts';
import { chainOf, swept } from './references.ts';
import type { ImageRepository, LibraryChange } from './repository.ts';

/** What the library wants to know of machines. */
export interface LibraryMachines {
  /** Who holds the image, and how. */
  holdersOf(image: string): readonly Holder[];
  /** The present name of the machine with that id. */
  nameOf(id: string): string | undefined;
}

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
  readonly machines?: LibraryMachines;
  /** Whoever serves disks, once it runs. */
  readonly live?: () => LiveDisks | undefined;
};

/** An image, or one of its points ("win98@2"): the layer that is meant. */
export type Named = { readonly image: Image; readonly layer: Layer; readonly point?: ImagePoint };

/**
 * A flush in the thread pool: the commit's own fsync runs on the main thread, which also answers
 * DHCP, and finds nothing left to do after this one.
 */
export const flush = promisify(fsync);

/** What all verbs share: records, files, who may do what at the same time. */
export class LibraryCore {
  readonly options: LibraryOptions;
  readonly repository: ImageRepository;
  readonly folder: LibraryFolder;
  readonly jobs = new Jobs();
  /** Layers that verbs work on, and how many: they are served to nobody meanwhile. */
  readonly #paused = new Map<string, number>();
  /** Of these the ones whose system, held for a verb, goes on now. */
  readonly #goingOn = new Set<string>();

  constructor(options: LibraryOptions) {
    this.options = options;
    this.repository = new MirroredRepository(options.repository);
    this.folder = new LibraryFolder(options.folder);
  }

  /** One image. Throws UserError `image-unknown`. */
  get(name: string): Image {
    const image = this.repository.get(name);
    if (image === undefined) throw imageUnknown(name);
    return image;
  }

  layer(id: string): Layer {
    const [layer] = chainOf(this.repository, id);
    // `chainOf` throws for an id without a layer.
    return layer as Layer;
  }

  /** "NAME" or "NAME@NUMBER". Throws UserError `image-unknown`, `point-unknown`. */
  named(text: string): Named {
    const [name = '', number] = text.split('@', 2);
    const image = this.get(name);
    if (number === undefined) return { image, layer: this.layer(image.head) };
    const point = this.pointsOf(name).find((p) => String(p.number) === number);
    if (point === undefined) throw pointUnknown(name, number);
    return { image, layer: this.layer(point.layer), point };
  }

  pointsOf(name: string): ImagePoint[] {
    return this.repository.points().filter((point) => point.image === name);
  }

  /** Throws UserError `image-name`, `image-exists`. */
  checkNew(name: string): void {
    checkImageName(name);
    if (this.repository.get(name) !== undefined) throw imageExists(name);
  }

  newId(): string {
    return randomBytes(5).toString('hex');
  }

  /** True while a verb works on the layer. */
  isPaused(layer: string): boolean {
    return this.#paused.has(layer) && !this.#goingOn.has(layer);
  }

  /**
   * Keeps machines off the layer while `work` runs. Where machines run from it, `whenUsed` is asked
   * to do it under them; UserError `image-in-use`, which names them, when it cannot.
   */
  async quiet<T>(
    layer: Layer,
    image: string,
    verb: string,
    work: () => Promise<T>,
    whenUsed?: (live: LiveDisks) => Promise<T> | undefined,
  ): Promise<T> {
    const live = this.options.live?.();
    if (live === undefined || layer.frozen !== undefined) return work();
    this.#paused.set(layer.id, (this.#paused.get(layer.id) ?? 0) + 1);
    try {
      const users = await live.release(new Set([layer.id]));
      if (users.length === 0) return await work();
      const online = whenUsed?.(live);
      if (online === undefined) throw inUseNow(image, users, verb);
      return await online;
    } finally {
      this.#goingOn.delete(layer.id);
      const left = (this.#paused.get(layer.id) ?? 1) - 1;
      if (left > 0) this.#paused.set(layer.id, left);
      else this.#paused.delete(layer.id);
      await live.restore().catch((e: unknown) => {
        // What was done is done; that a drive is not served is told where it is asked for.
        this.options.log.error({ why: messageOf(e) }, 'drives could not be served again');
      });
    }
  }

  /** For `quiet`: `work` under the running system, if it can be held that long. */
  held<T>(layer: Layer, work: () => Promise<T>): (live: LiveDisks) => Promise<T> | undefined {
    return (live) =>
      live.hold?.(layer.id, async () => {
        try {
          return await work();
        } finally {
          // What is served in its place is asked for now.
          this.#goingOn.add(layer.id);
        }
      });
  }

  /**
   * Makes a change of records and files, all or nothing. `add`: new layers whose files lie flushed
   * under their partial names. Layers that nothing needs any more go, and the files that we own.
   */
  commit(change: LibraryChange, add: readonly Layer[] = [], durable = true): void {
    const whole = swept(this.repository, change, this.jobs.readOf('layer'));
    const removed = (whole.removeLayers ?? []).flatMap((id) => this.repository.layer(id) ?? []);
    const remove = removed.filter((layer) => layer.owned);
    this.folder.commit({ add, remove, durable }, () => {
      this.repository.commit(whole);
    });
    // A file of its owner's that was frozen here can be written again when it leaves.
    for (const layer of removed)
      if (!layer.owned && layer.frozen !== undefined) unfreeze(layer.path);
  }

  /** What the machine of an overlay is called now, or was when it was removed. */
  ownerOf({ machine, machineName }: MachineOverlay): string {
    return this.options.machines?.nameOf(machine) ?? machineName;
  }

  /** A full disk in words, with what was wanted; anything else as it is. */
  spaceError(e: unknown, what: string, neededBytes?: number, folder = this.folder.path): unknown {
    if (!SPACE_CODES.has(errnoOf(e) ?? '')) return e;
    if (neededBytes !== undefined)
      return noSpace(folder, what, neededBytes, this.folder.freeBytes());
    return new EnvironmentError('no-space', {
      what: `no space for ${what}`,
      why: `the disk of ${folder} is full`,
      todo: 'remove images that are not needed, or use a folder on a larger disk',
    });
  }
}

/** Of the kernel, and of the block layer. */
const SPACE_CODES: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'block-no-space']);
