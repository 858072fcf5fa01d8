import { accessSync, closeSync, constants, ftruncateSync } from 'node:fs';
import { openSync, rmSync, statSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { createQcow2 } from '#block/mod.ts';
import { EnvironmentError, InternalError, messageOf, UserError } from '#base/mod.ts';
import { lockImage } from '#os/mod.ts';
import { copyDisk, deviceSink, fileSink } from './copy-disk.ts';
import { flush, type LibraryCore } from './core.ts';
import { withDisk } from './device-io.ts';
import { DiskFile } from './disk-file.ts';
import { sourceOf } from './disk-source.ts';
import { DISK_FORMATS, formatUnknown, kindByName, type DiskFormat } from './formats.ts';
import type { ImageWork } from './image.ts';
import type { Layer } from './layer.ts';
import { isTaken, UNPACKED } from './library-folder.ts';
import { followed } from './making.ts';
import { pack } from './packing.ts';
import { chainOpts, qemuImg } from './qemu-img.ts';
import { chainOf } from './references.ts';

/** How a disk goes out; without them the name of the file says. */
export type ExportOptions = {
  readonly format?: DiskFormat;
  readonly compression?: 'gz' | 'zst';
};

/**
 * Writes an image, or one of its points, into one file outside the library: all its layers
 * together. The file appears when it is whole and flushed. Rejects with UserError
 * (`file-in-the-way`, `no-such-folder`, `format-unknown`, `image-in-use`), EnvironmentError, the
 * abort reason.
 */
export async function exportImage(
  core: LibraryCore,
  from: string,
  path: string,
  options: ExportOptions,
  work: ImageWork,
): Promise<void> {
  if (!isAbsolute(path)) throw new InternalError(`"${path}" is not absolute`);
  const { format, compression } = howTo(path, options);
  checkFolder(dirname(path));
  if (isTaken(path)) {
    throw new UserError('conflict', 'file-in-the-way', {
      what: `${path} is there already`,
      todo: 'name another file, or remove that one',
    });
  }
  const { image, layer } = core.named(from);
  const chain = chainOf(core.repository, layer.id);
  const claims = { read: [`image:${image.name}`, ...chain.map((l) => `layer:${l.id}`)] };
  await core.jobs.run(`the export of "${from}"`, claims, () =>
    core.quiet(layer, image.name, 'an export', () =>
      core.folder.elsewhere(core.newId(), path, async (partial) => {
        try {
          if (compression === undefined) await writeDisk(chain, partial, format, work);
          else await writePacked(chain, partial, format, compression, work);
        } catch (e) {
          throw core.spaceError(e, path, undefined, dirname(path));
        }
      }),
    ),
  );
}

/** Throws UserError `no-such-folder`, EnvironmentError `folder-not-writable`. */
function checkFolder(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UserError('not-found', 'no-such-folder', {
      what: `there is no folder ${folder}`,
      todo: `make it (mkdir -p ${folder}), or name another`,
    });
  }
  try {
    accessSync(folder, constants.W_OK);
  } catch (e) {
    throw new EnvironmentError('folder-not-writable', {
      what: `cannot write to ${folder}`,
      why: messageOf(e),
      todo: 'name a folder on this server that can be written to',
    });
  }
}

function howTo(
  path: string,
  options: ExportOptions,
): { format: DiskFormat; compression?: 'gz' | 'zst' } {
  const byName = kindByName(path);
  const named = byName.format === 'iso' ? 'raw' : byName.format;
  const format = options.format ?? named;
  if (format === undefined || !DISK_FORMATS.includes(format)) throw formatUnknown(path);
  const compression = options.compression ?? byName.compression;
  if (compression === undefined) return { format };
  if (compression === 'xz') {
    throw new UserError('unsupported', 'format-unsupported', {
      what: 'files are not packed with xz',
      todo: 'name it .zst, which is faster and nearly as small, or pack it after',
    });
  }
  return { format, compression };
}

async function writeDisk(
  chain: readonly Layer[],
  path: string,
  format: DiskFormat,
  work: ImageWork,
): Promise<void> {
  const [top] = chain as readonly [Layer];
  // As large as it is now: its owner may have made it larger since it came into the library.
  if (format === 'raw') {
    await withNewFile(path, async (fd) => {
      await withDisk(sourceOf(chain), 'read', async (disk) => {
        ftruncateSync(fd, disk.sizeBytes);
        await copyDisk(disk, fileSink(fd), followed(work, disk.sizeBytes, 'export'));
      });
      await flush(fd);
    });
    return;
  }
  if (format === 'qcow2') {
    await withDisk(sourceOf(chain), 'read', async (disk) => {
      await withNewFile(path, (fd) => createQcow2(fd, { sizeBytes: disk.sizeBytes }));
      await withDisk({ kind: 'qcow2', path }, 'write', (target) =>
        copyDisk(disk, deviceSink(target), followed(work, disk.sizeBytes, 'export')),
      );
    });
    return;
  }
  await withNewFile(path, () => Promise.resolve());
  // What a killed server answered lies in the image's journal, which QEMU does not know: opening it
  // here brings its tables up to date.
  const replayed = top.format === 'qcow2' && top.frozen === undefined;
  if (replayed) await withDisk(sourceOf(chain), 'write', () => Promise.resolve());
  const args = ['convert', '-p', '-O', format, '--image-opts', chainOpts(chain), path];
  await qemuImg(args, work, undefined, top.sizeBytes);
}

async function writePacked(
  chain: readonly Layer[],
  path: string,
  format: DiskFormat,
  compression: 'gz' | 'zst',
  work: ImageWork,
): Promise<void> {
  const packed = (from: string): Promise<void> => {
    work.progress?.({ phase: 'pack' });
    return withNewFile(path, (fd) => pack(from, compression, fd, work));
  };
  const [top] = chain as readonly [Layer];
  if (format === 'raw' && isPlain(top)) {
    const file = DiskFile.open(top.path);
    try {
      lockImage(file.fd, 'shared');
      await packed(top.path);
    } finally {
      file.close();
    }
    return;
  }
  // Beside it, under a name that recovery knows how to remove.
  const unpacked = `${path}${UNPACKED}`;
  try {
    await writeDisk(chain, unpacked, format, work);
    await packed(unpacked);
  } finally {
    rmSync(unpacked, { force: true });
  }
}

/** The bytes of its file or device are those of the disk. */
function isPlain({ format }: Layer): boolean {
  return format !== 'qcow2' && format !== 'nbd';
}

async function withNewFile(path: string, work: (fd: number) => Promise<void>): Promise<void> {
  const fd = openSync(path, 'wx+', 0o600);
  try {
    await work(fd);
  } finally {
    closeSync(fd);
  }
}
