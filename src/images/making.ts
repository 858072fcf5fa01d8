import { randomInt } from 'node:crypto';
import { closeSync, fsyncSync, ftruncateSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { InternalError, UserError } from '#base/mod.ts';
import { planPreset, type Preset, writePreset } from '#disk/mod.ts';
import { lockImage } from '#os/mod.ts';
import { readQcow2Info } from '#block/mod.ts';
import { checkExtension, imageShape, refuseForeignParts, wholeBlocks } from './add-checks.ts';
import type { ImageShape } from './add-checks.ts';
import { copyDisk, fileSink } from './copy-disk.ts';
import { copySparse, reflink } from './copy.ts';
import { flush, type LibraryCore, type Named } from './core.ts';
import { withDisk } from './device-io.ts';
import { DiskFile } from './disk-file.ts';
import { sourceOf } from './disk-source.ts';
import type { Image, ImageRecord, ImageWork } from './image.ts';
import type { Layer } from './layer.ts';
import { isNbdUrl, nameFromPath } from './names.ts';
import { commitNew } from './overlay-file.ts';
import type { BuildRequest } from './recipes/debian-options.ts';
import { findRecipe } from './recipes/recipe.ts';
import { chainOf } from './references.ts';

/** What a new image of one new layer is, besides its bytes. */
export type NewImage = {
  readonly name: string;
  readonly source: string;
  readonly note?: string | undefined;
  readonly shape: Omit<ImageShape, 'kind'> & { readonly kind: 'raw' | 'iso' };
};

/** The verbs that bring new images into the library. */
export class MakingVerbs {
  readonly #core: LibraryCore;

  constructor(core: LibraryCore) {
    this.#core = core;
  }

  /**
   * Adds a raw file, a qcow2 file without a base (named .qcow2), a CD image (named .iso), a block
   * device or an NBD export (by its URL), used where it is and never deleted. The name follows from
   * the path when not given. Rejects with UserError.
   */
  async add(path: string, options: { name?: string; note?: string } = {}): Promise<Image> {
    const core = this.#core;
    const shape = await shapeInPlace(path);
    const real = shape.kind === 'nbd' ? path : realpathSync(path);
    const twin = core.repository.layers().find((layer) => layer.path === real);
    if (twin !== undefined) throw sameFile(path, core, twin);
    const name = options.name ?? nameFromPath(path);
    core.checkNew(name);
    const layer = this.#layer({ ...shape, path: real, owned: false });
    core.commit({ putLayers: [layer], addImages: [this.#record(name, layer, options)] });
    return core.get(name);
  }

  /**
   * Makes a blank disk: partitioned and formatted for DOS or Windows 9x, or an empty GPT. The size
   * becomes the nearest that the preset allows. Rejects with UserError `disk-size` and those of
   * names.
   */
  async create(
    name: string,
    options: { preset: Preset; sizeBytes: number; label?: string; note?: string },
  ): Promise<Image> {
    const { preset } = options;
    this.#core.checkNew(name);
    const plan = planPreset(preset, options.sizeBytes);
    const source = `preset ${preset}`;
    const shape = { kind: 'raw', sizeBytes: plan.sizeBytes, blockBytes: 512 } as const;
    return this.write({ name, source, note: options.note, shape }, (fd) => {
      ftruncateSync(fd, plan.sizeBytes);
      writePreset(DiskFile.of(fd), plan, {
        label: options.label ?? 'POLYBOOT',
        diskSignature: randomInt(1, 2 ** 32),
        serial: randomInt(1, 2 ** 32),
        timeMs: this.#core.options.clock.wallMs(),
      });
      return Promise.resolve({});
    });
  }

  /**
   * Builds an image from a recipe. Rejects with UserError, EnvironmentError or the abort reason.
   */
  async build(name: string, request: BuildRequest, work: ImageWork = {}): Promise<Image> {
    const core = this.#core;
    core.checkNew(name);
    const recipe = findRecipe(request.recipe);
    const { cacheFolder, clock, log } = core.options;
    const shape = { kind: 'raw', sizeBytes: 0, blockBytes: 512 } as const;
    return this.write({ name, source: '', note: request.note, shape }, async (fd) => {
      const context = { fd, name, cacheFolder, clock, log, freeBytes: core.folder.freeBytes() };
      const built = await recipe.build(request, context, work);
      work.progress?.({ phase: 'flush', line: 'waiting for the disk' });
      return built;
    });
  }

  /**
   * Copies an image or one of its points into an image of its own: by sharing blocks where the file
   * system can, else data only (holes stay holes); a chain becomes one file. Rejects with UserError
   * (`image-in-use` while the source is written, with who does), EnvironmentError, the abort
   * reason.
   */
  async clone(from: string, name: string, work: ImageWork = {}): Promise<Image> {
    const core = this.#core;
    const source = core.named(from);
    core.checkNew(name);
    const { layer } = source;
    const claims = { read: [`image:${source.image.name}`, `layer:${layer.id}`] };
    return core.jobs.run(`the copying of "${from}"`, claims, () =>
      core.quiet(layer, source.image.name, 'a copy', () => this.#copy(from, source, name, work)),
    );
  }

  async #copy(from: string, { layer }: Named, name: string, work: ImageWork): Promise<Image> {
    const core = this.#core;
    const { blockBytes } = layer;
    const kind = layer.format === 'iso' ? 'iso' : 'raw';
    const chain = chainOf(core.repository, layer.id);
    // As large as it is now: its owner may have made it larger since it came into the library.
    const imageOf = (sizeBytes: number): NewImage => {
      return { name, source: `clone of ${from}`, shape: { kind, sizeBytes, blockBytes } };
    };
    if (layer.format === 'qcow2' || layer.format === 'nbd') {
      return this.write(imageOf(layer.sizeBytes), (fd) =>
        withDisk(sourceOf(chain), 'read', async (device) => {
          const { sizeBytes } = device;
          ftruncateSync(fd, sizeBytes);
          await copyDisk(device, fileSink(fd), followed(work, sizeBytes));
          return { sizeBytes };
        }),
      );
    }
    const file = DiskFile.open(layer.path);
    try {
      lockImage(file.fd, 'shared');
      const sizeBytes = Math.max(layer.sizeBytes, wholeBlocks(file.sizeBytes, blockBytes));
      return await this.write(
        imageOf(sizeBytes),
        async (fd) => {
          const allocated = statSync(layer.path).blocks * 512;
          const needed = layer.format === 'block' ? 0 : Math.min(allocated, sizeBytes);
          core.folder.checkSpace(needed, `a copy of "${from}"`);
          await copySparse(file.fd, fd, sizeBytes, followed(work, sizeBytes));
          return {};
        },
        (partial) => (layer.format === 'block' ? false : reflink(layer.path, partial)),
        work.signal,
      );
    } finally {
      file.close();
    }
  }

  /**
   * Writes the one file of a new image and records it, all or nothing. `fill` may tell what it only
   * knows at its end; `share` may make the whole partial file itself.
   */
  async write(
    image: NewImage,
    fill: (fd: number, id: string) => Promise<{ sizeBytes?: number; source?: string }>,
    share?: (partial: string) => boolean | Promise<boolean>,
    signal?: AbortSignal,
  ): Promise<Image> {
    const core = this.#core;
    const { name, shape } = image;
    return core.jobs.run(`the making of "${name}"`, { change: [`image:${name}`] }, async () => {
      core.checkNew(name);
      const id = core.newId();
      const path = core.folder.pathFor(name, { id, format: shape.kind }, core.repository);
      const shared = (await share?.(core.folder.partialOf(id))) === true;
      const fd = shared ? core.folder.adoptPartial(id) : core.folder.openPartial(id);
      try {
        const told = shared ? {} : await fill(fd, id);
        await flush(fd);
        fsyncSync(fd);
        signal?.throwIfAborted();
        const { sizeBytes, blockBytes, kind } = shape;
        const size = told.sizeBytes ?? sizeBytes;
        const facts = { kind, sizeBytes: size, blockBytes, path, owned: true };
        const layer = { ...this.#layer(facts), id };
        const record = this.#record(name, layer, { ...image, ...told });
        commitNew(core, layer, { putLayers: [layer], addImages: [record] });
        return core.get(name);
      } catch (e) {
        core.folder.discard(id);
        throw core.spaceError(e, `the image "${name}"`, shape.sizeBytes || undefined);
      } finally {
        closeSync(fd);
      }
    });
  }

  #layer(facts: ImageShape & Pick<Layer, 'path' | 'owned'>): Layer {
    const { kind, ...rest } = facts;
    const createdAtMs = this.#core.options.clock.wallMs();
    return { id: this.#core.newId(), format: kind, ...rest, createdAtMs };
  }

  #record(
    name: string,
    { id }: Layer,
    { source, note }: { source?: string; note?: string | undefined },
  ): ImageRecord {
    return {
      name,
      head: id,
      createdAtMs: this.#core.options.clock.wallMs(),
      lastPoint: 0,
      ...(note === undefined ? {} : { note }),
      ...(source === undefined ? {} : { source }),
    };
  }
}

/** Progress of a copy as progress of work. */
export function followed(
  work: ImageWork,
  totalBytes: number,
  phase = 'copy',
): { signal?: AbortSignal; copied: (doneBytes: number) => void } {
  return {
    ...(work.signal === undefined ? {} : { signal: work.signal }),
    copied: (doneBytes) => {
      work.progress?.({ phase, doneBytes, totalBytes });
    },
  };
}

/** What is at a path, or behind an NBD URL. Rejects with UserError, EnvironmentError. */
async function shapeInPlace(path: string): Promise<ImageShape> {
  if (isNbdUrl(path)) {
    return withDisk({ kind: 'nbd', url: path }, 'read', ({ sizeBytes, blockBytes }) =>
      Promise.resolve({ kind: 'nbd', sizeBytes, blockBytes }),
    );
  }
  if (!isAbsolute(path)) throw new InternalError(`"${path}" is not absolute`);
  return checkExtension(path) === 'qcow2' ? qcow2Shape(path) : rawShape(path);
}

function rawShape(path: string): ImageShape {
  const file = DiskFile.open(path);
  try {
    const shape = imageShape(path, file);
    // A second open: O_EXCL tells whether this computer itself uses the device.
    if (file.isBlockDevice) DiskFile.open(path, 'write').close();
    return shape;
  } finally {
    file.close();
  }
}

async function qcow2Shape(path: string): Promise<ImageShape> {
  const info = await readQcow2Info(path);
  refuseForeignParts(path, info);
  return { kind: 'qcow2', sizeBytes: info.sizeBytes, blockBytes: 512 };
}

function sameFile(path: string, core: LibraryCore, twin: Layer): UserError {
  const name = core.repository.list().find((image) => image.head === twin.id)?.name;
  return new UserError('conflict', 'image-exists', {
    what: `${path} is in the library already`,
    why: name === undefined ? 'an image stands on it' : `its name there is "${name}"`,
    todo: 'use that image, or make a copy: polyboot image clone',
  });
}
