import { extname } from 'node:path';
import { UserError } from '#base/mod.ts';
import { CD_BLOCK_BYTES, readIso } from '#disk/mod.ts';
import type { DiskFile } from './disk-file.ts';
import type { ImageKind } from './image.ts';

/** Formats that hold a disk inside a container; told by the name only, never by the content. */
const CONTAINERS: ReadonlyMap<string, string> = new Map([
  ['.qcow2', 'qcow2'],
  ['.qcow', 'qcow'],
  ['.vmdk', 'vmdk'],
  ['.vhd', 'vpc'],
  ['.vhdx', 'vhdx'],
  ['.vdi', 'vdi'],
]);
const COMPRESSED = new Set(['.gz', '.xz', '.zst', '.bz2', '.zip', '.7z']);

/** What a file or device is as an image. */
export type ImageShape = {
  readonly kind: ImageKind;
  readonly sizeBytes: number;
  readonly blockBytes: number;
};

/** Throws UserError `format-unsupported` for the name of a container or of a compressed file. */
export function checkExtension(path: string): void {
  const extension = extname(path).toLowerCase();
  const format = CONTAINERS.get(extension);
  if (format !== undefined) {
    throw new UserError('unsupported', 'format-unsupported', {
      what: `${path} is a ${format} file, which cannot be used in place yet`,
      todo: `convert it first: qemu-img convert -O raw "${path}" disk.img`,
    });
  }
  if (COMPRESSED.has(extension)) {
    throw new UserError('unsupported', 'format-unsupported', {
      what: `${path} is a compressed file`,
      todo: 'unpack it first',
    });
  }
}

/**
 * What an open file or device is as an image. The content is looked at for one question only: a
 * file named .iso must be a CD image. (A raw disk that looked like another format to a prober could
 * make us follow paths that its guest wrote.) Throws UserError `not-iso` or `too-small`.
 */
export function imageShape(path: string, file: DiskFile): ImageShape {
  if (extname(path).toLowerCase() === '.iso') {
    if (readIso(file) === undefined) {
      throw new UserError('invalid', 'not-iso', {
        what: `${path} is named .iso but holds no CD file system`,
        todo: 'if it is a disk image, rename it to .img; if not, fetch it again',
      });
    }
    const sizeBytes = wholeBlocks(file.sizeBytes, CD_BLOCK_BYTES);
    return { kind: 'iso', sizeBytes, blockBytes: CD_BLOCK_BYTES };
  }
  const blockBytes = file.logicalBlockBytes;
  if (file.sizeBytes < blockBytes) {
    throw new UserError('invalid', 'too-small', {
      what: `${path} has ${file.sizeBytes} bytes, less than one sector`,
      todo: 'was it copied completely?',
    });
  }
  const kind = file.isBlockDevice ? 'block' : 'raw';
  return { kind, sizeBytes: wholeBlocks(file.sizeBytes, blockBytes), blockBytes };
}

function wholeBlocks(sizeBytes: number, blockBytes: number): number {
  return Math.floor(sizeBytes / blockBytes) * blockBytes;
}
