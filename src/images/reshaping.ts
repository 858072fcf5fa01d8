import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { statSync } from 'node:fs';
import { formatBytes, UserError } from '#base/mod.ts';
import { copyDisk, fileSink } from './copy-disk.ts';
import { flush, type LibraryCore } from './core.ts';
import { answered } from '#block/mod.ts';
import { withDisk } from './device-io.ts';
import { sourceOf } from './disk-source.ts';
import { imageFrozen, kindUnsupported } from './errors.ts';
import { frozenAt } from './freezing.ts';
import type { ImageWork } from './image.ts';
import type { Layer } from './layer.ts';
import type { LiveDisks } from './live-disks.ts';
import { followed } from './making.ts';
import { commitNew } from './overlay-file.ts';
import type { VerbResult } from './points.ts';
import { chainOf } from './references.ts';

/** 8 TiB: the largest disk that any of our consumers can make use of. */
const DISK_BYTES_MAX = 8 * 2 ** 40;
const SECTOR_BYTES = 512;

/** The verbs that change the form of an image and not its content. */
export class ReshapingVerbs {
  readonly #core: LibraryCore;

  constructor(core: LibraryCore) {
    this.#core = core;
  }

  /**
   * Makes one raw file of all the layers of an image; the layers that nothing else needs go. A
   * golden image stays golden, and overlays that stand on the old layers stay there. Rejects with
   * UserError, EnvironmentError `no-space`, the abort reason.
   */
  async flatten(name: string, work: ImageWork = {}): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(name);
    const head = core.layer(image.head);
    const chain = chainOf(core.repository, head.id);
    if (chain.length === 1) return { image, notes: ['it is one layer already'] };
    // What a golden image stands on nobody changes, and machines go on booting from it meanwhile.
    const claims = { change: [`image:${name}`, ...(image.frozen ? [] : [`layer:${head.id}`])] };
    return core.jobs.run(`the flattening of "${name}"`, claims, () =>
      core.quiet(head, name, 'flattening', async () => {
        const flat = await this.#flatCopy(name, chain, work);
        const points = image.frozen ? core.pointsOf(name).filter((p) => p.layer === head.id) : [];
        commitNew(core, flat, {
          putLayers: [flat],
          setImages: [{ ...core.get(name), head: flat.id }],
          removePoints: points,
          addPoints: points.map((point) => ({ ...point, layer: flat.id })),
        });
        return { image: core.get(name), notes: this.#leftNotes(name, head) };
      }),
    );
  }

  /**
   * Makes the disk larger; the partitions on it stay as they are. A system that runs from it is
   * told, where that is possible. Rejects with UserError: smaller, golden, a device.
   */
  async resize(name: string, sizeBytes: number): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(name);
    if (image.frozen) throw imageFrozen(name, 'made larger');
    const head = core.layer(image.head);
    if (head.format !== 'raw' && head.format !== 'qcow2') {
      throw kindUnsupported(name, head.format, 'made larger');
    }
    const whole = Math.ceil(sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
    if (whole === head.sizeBytes) return { image, notes: ['it has that size already'] };
    checkGrowth(name, head.sizeBytes, whole);
    const growing = { ...head, growTo: whole };
    const grown = { ...head, sizeBytes: whole };
    const claims = { change: [`image:${name}`, `layer:${head.id}`] };
    return core.jobs.run(`the resizing of "${name}"`, claims, async () => {
      const offline = async (): Promise<void> => {
        core.commit({ putLayers: [growing] });
        await growFile(core, name, head, whole);
      };
      const online = (live: LiveDisks): Promise<void> | undefined => {
        if (live.grow === undefined) return undefined;
        core.commit({ putLayers: [growing] });
        return live.grow(head.id, whole);
      };
      try {
        await core.quiet(head, name, 'resizing', offline, online);
      } catch (e) {
        core.commit({ putLayers: [finishGrowth(growing)] });
        throw core.spaceError(e, `image "${name}"`);
      }
      core.commit({ putLayers: [grown] });
      return { image: core.get(name), notes: [] };
    });
  }

  async #flatCopy(name: string, chain: readonly Layer[], work: ImageWork): Promise<Layer> {
    const core = this.#core;
    const [head] = chain as readonly [Layer];
    const id = core.newId();
    const partial = core.folder.partialOf(id);
    const path = core.folder.pathFor(name, { id, format: 'raw' }, core.repository);
    const fd = core.folder.openPartial(id);
    try {
      ftruncateSync(fd, head.sizeBytes);
      await withDisk(sourceOf(chain), 'read', (device) =>
        copyDisk(device, fileSink(fd), followed(work, head.sizeBytes, 'flatten')),
      );
      await flush(fd);
      work.signal?.throwIfAborted();
    } catch (e) {
      core.folder.discard(id);
      throw core.spaceError(e, `"${name}" in one file`);
    } finally {
      closeSync(fd);
    }
    const { sizeBytes, blockBytes } = head;
    const createdAtMs = core.options.clock.wallMs();
    const facts = { sizeBytes, blockBytes, owned: true, createdAtMs };
    const flat: Layer = { id, path, format: 'raw', ...facts };
    return head.frozen === undefined ? flat : frozenAt(flat, partial);
  }

  #leftNotes(name: string, old: Layer): string[] {
    if (this.#core.repository.layer(old.id) === undefined) return [];
    return [
      `the layers that it stood on stay, because others need them: polyboot image usage ${name}`,
    ];
  }
}

/**
 * The layer with the size that its file really has: what a killed server, or one that failed, had
 * begun is taken as done or as not begun. Reads 8 bytes at most.
 */
export function finishGrowth({ growTo, ...layer }: Layer): Layer {
  if (growTo === undefined) return layer;
  const sizeBytes = actualSize(layer);
  return sizeBytes === growTo ? { ...layer, sizeBytes } : layer;
}

function actualSize(layer: Layer): number | undefined {
  const size = statSync(layer.path, { throwIfNoEntry: false })?.size;
  return layer.format === 'qcow2' && size !== undefined ? virtualSize(layer.path) : size;
}

/** Bytes 24 to 31 of a qcow2 header (QEMU docs/interop/qcow2.txt): the size of the disk. */
function virtualSize(path: string): number {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(8);
    readSync(fd, bytes, 0, 8, 24);
    return Number(bytes.readBigUInt64BE());
  } finally {
    closeSync(fd);
  }
}

async function growFile(
  core: LibraryCore,
  name: string,
  layer: Layer,
  sizeBytes: number,
): Promise<void> {
  const source = sourceOf(chainOf(core.repository, layer.id));
  // Opening it for writing proves that nobody else has it.
  await withDisk(source, 'write', async (device) => {
    // Its owner may have made it larger since it came into the library.
    checkGrowth(name, device.sizeBytes, sizeBytes);
    await answered((done) => {
      if (device.grow === undefined) throw kindUnsupported(name, layer.format, 'made larger');
      device.grow(sizeBytes, done);
    });
    await answered((done) => {
      device.flush(done);
    });
  });
}

function checkGrowth(name: string, oldBytes: number, newBytes: number): void {
  if (newBytes < oldBytes) {
    throw new UserError('invalid', 'disk-size', {
      what: `image "${name}" cannot be made smaller`,
      why: `it has ${formatBytes(oldBytes)}, and what lies behind ${formatBytes(newBytes)} would be lost`,
      todo: 'make a new image of that size and copy the files',
    });
  }
  if (newBytes <= DISK_BYTES_MAX) return;
  throw new UserError('invalid', 'disk-size', {
    what: `image "${name}" cannot have ${formatBytes(newBytes)}`,
    why: `the largest disk has ${formatBytes(DISK_BYTES_MAX)}`,
  });
}
