import { closeSync, ftruncateSync, openSync, rmSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { checkQcow2, readQcow2Info } from '#block/mod.ts';
import { formatBytes, InternalError, UserError } from '#base/mod.ts';
import { CD_BLOCK_BYTES } from '#disk/mod.ts';
import { lockImage } from '#os/mod.ts';
import { imageShape, refuseForeignParts } from './add-checks.ts';
import { copyDisk, fileSink } from './copy-disk.ts';
import { copySparse } from './copy.ts';
import type { LibraryCore } from './core.ts';
import { withDisk } from './device-io.ts';
import { DiskFile } from './disk-file.ts';
import { checkForeign, type ForeignFormat } from './foreign-formats.ts';
import { cutShort, refuseCutShort } from './foreign-length.ts';
import { formatUnknown, kindByName, type ImportFormat } from './formats.ts';
import type { Image, ImageWork } from './image.ts';
import { followed, type MakingVerbs } from './making.ts';
import { nameFromPath } from './names.ts';
import { unpack } from './packing.ts';
import { fileName, lockedRawOpts, qemuImg, qemuImgSize } from './qemu-img.ts';

/** What a caller may say of a file that comes in. */
export type ImportOptions = {
  readonly name?: string;
  /** Without it the name of the file says; its content never does. */
  readonly format?: ImportFormat;
  readonly note?: string;
};

/** 8 TiB: the largest disk that any of our consumers can make use of. */
export const IMPORT_BYTES_MAX = 8 * 2 ** 40;
const SECTOR_BYTES = 512;

/**
 * Copies a disk image of any usual kind into the library, as a raw file. It is looked at before it
 * is opened, and refused when its bytes are not all its own (hostile case 35).
 * Rejects with UserError, EnvironmentError, the abort reason; then nothing is left of it.
 */
export async function importImage(
  core: LibraryCore,
  making: MakingVerbs,
  path: string,
  options: ImportOptions,
  work: ImageWork,
): Promise<Image> {
  if (!isAbsolute(path)) throw new InternalError(`"${path}" is not absolute`);
  // Says what is wrong with the path, and opens neither pipe nor folder.
  DiskFile.open(path).close();
  const { compression, ...byName } = kindByName(path);
  const format = options.format ?? byName.format;
  if (format === undefined) throw formatUnknown(path);
  const plain = compression === undefined ? path : path.slice(0, -compression.length - 1);
  const name = options.name ?? nameFromPath(plain);
  const { note } = options;
  const kind = format === 'iso' ? 'iso' : 'raw';
  const shape = { kind, blockBytes: kind === 'iso' ? CD_BLOCK_BYTES : SECTOR_BYTES } as const;
  const source = `import of ${path}`;
  return making.write({ name, source, note, shape: { ...shape, sizeBytes: 0 } }, async (fd, id) => {
    if (compression === undefined) return fill(core, path, format, fd, id, work);
    if (format === 'raw' || format === 'iso') {
      const length = await unpack(path, compression, fd, IMPORT_BYTES_MAX, work);
      return { sizeBytes: rounded(path, length, fd, format) };
    }
    return withUnpacked(core, `${id}-packed`, async (inner, innerFd) => {
      await unpack(path, compression, innerFd, IMPORT_BYTES_MAX, work);
      return fill(core, inner, format, fd, id, work);
    });
  });
}

/** Fills the empty file with the disk in `path`. */
async function fill(
  core: LibraryCore,
  path: string,
  format: ImportFormat,
  fd: number,
  id: string,
  work: ImageWork,
): Promise<{ sizeBytes: number }> {
  switch (format) {
    case 'raw':
    case 'iso':
      return { sizeBytes: await fillRaw(path, format, fd, work) };
    case 'qcow2':
      return { sizeBytes: await fillFromQcow2(path, fd, work) };
    case 'vmdk':
    case 'vpc':
    case 'vhdx':
    case 'vdi':
      return { sizeBytes: await convert(path, format, fd, core.folder.partialOf(id), work) };
  }
}

async function fillRaw(
  path: string,
  format: 'raw' | 'iso',
  fd: number,
  work: ImageWork,
): Promise<number> {
  const file = DiskFile.open(path);
  try {
    lockImage(file.fd, 'shared');
    if (format === 'iso') imageShape('x.iso', file);
    checkSize(path, file.sizeBytes);
    await copySparse(file.fd, fd, file.sizeBytes, followed(work, file.sizeBytes));
    return rounded(path, file.sizeBytes, fd, format);
  } finally {
    file.close();
  }
}

async function fillFromQcow2(path: string, fd: number, work: ImageWork): Promise<number> {
  const info = await readQcow2Info(path);
  refuseForeignParts(path, info);
  checkSize(path, info.sizeBytes);
  const signal = work.signal === undefined ? {} : { signal: work.signal };
  const report = await checkQcow2(path, {
    ...signal,
    progress: (fraction) => {
      const doneBytes = Math.round(fraction * info.sizeBytes);
      work.progress?.({ phase: 'check', doneBytes, totalBytes: info.sizeBytes });
    },
  });
  if (report.errors > 0) throw broken(path, report.findings);
  // The last cluster need not be whole, but it begins within the file.
  if (report.endBytes - info.clusterBytes >= info.fileBytes) throw cutShort(path, info.fileBytes);
  ftruncateSync(fd, info.sizeBytes);
  await withDisk({ kind: 'qcow2', path }, 'read', (device) =>
    copyDisk(device, fileSink(fd), followed(work, info.sizeBytes)),
  );
  return info.sizeBytes;
}

async function convert(
  path: string,
  format: ForeignFormat,
  fd: number,
  partial: string,
  work: ImageWork,
): Promise<number> {
  checkForeign(path, format);
  await refuseCutShort(path, format, work.signal);
  const sizeBytes = await qemuImgSize(path, format, work);
  checkSize(path, sizeBytes);
  const whole = Math.ceil(sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
  ftruncateSync(fd, whole);
  // The target is there already, locked by us, and empty.
  const options = ['-p', '-n', '--target-is-zero', '--target-image-opts'];
  const args = ['convert', ...options, fileName(path, format), lockedRawOpts(partial)];
  await qemuImg(args, work, undefined, sizeBytes);
  return whole;
}

/** A whole number of blocks: raw disks are filled up with zeros, an ISO must be whole. */
function rounded(path: string, lengthBytes: number, fd: number, format: 'raw' | 'iso'): number {
  const block = format === 'iso' ? CD_BLOCK_BYTES : SECTOR_BYTES;
  if (lengthBytes < block) {
    throw new UserError('invalid', 'too-small', {
      what: `${path} has ${lengthBytes} bytes, less than one sector`,
      todo: 'was it copied completely?',
    });
  }
  const whole = Math.ceil(lengthBytes / block) * block;
  ftruncateSync(fd, whole);
  if (format === 'iso') imageShape('x.iso', DiskFile.of(fd));
  return whole;
}

/** Runs `work` with a file beside the image that goes when it is done, or when we are killed. */
async function withUnpacked<T>(
  core: LibraryCore,
  id: string,
  work: (path: string, fd: number) => Promise<T>,
): Promise<T> {
  const path = core.folder.partialOf(id);
  const fd = openSync(path, 'wx+', 0o600);
  try {
    return await work(path, fd);
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
}

function checkSize(path: string, sizeBytes: number): void {
  if (sizeBytes <= IMPORT_BYTES_MAX) return;
  throw new UserError('invalid', 'too-large', {
    what: `${path} holds a disk of ${formatBytes(sizeBytes)}`,
    why: `the largest disk has ${formatBytes(IMPORT_BYTES_MAX)}`,
  });
}

function broken(path: string, findings: readonly string[]): UserError {
  return new UserError('invalid', 'image-broken', {
    what: `${path} is damaged`,
    why: findings.slice(0, 3).join('; '),
    todo: 'mend it where it came from: qemu-img check -r all',
  });
}
