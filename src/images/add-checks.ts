import { extname } from 'node:path';
import { printable, UserError } from '#base/mod.ts';
import type { Qcow2Info } from '#block/mod.ts';
import { CD_BLOCK_BYTES, readIso } from '#disk/mod.ts';
import type { DiskFile } from './disk-file.ts';
import type { LayerFormat } from './layer.ts';

/** Formats that are only imported; told by the name only, never by the content. */
const CONTAINERS: ReadonlyMap<string, string> = new Map([
  ['.qcow', 'qcow'],
  ['.vmdk', 'vmdk'],
  ['.vhd', 'vpc'],
  ['.vhdx', 'vhdx'],
  ['.vdi', 'vdi'],
]);
const COMPRESSED = new Set(['.gz', '.xz', '.zst', '.bz2', '.zip', '.7z']);

/** What a file or device is as an image. */
export type ImageShape = {
  readonly kind: LayerFormat;
  readonly sizeBytes: number;
  readonly blockBytes: number;
};

/**
 * How a file of that name is used in place. Throws UserError `format-unsupported` for the name of a
 * container that we do not write, or of a compressed file.
 */
export function checkExtension(path: string): 'raw' | 'qcow2' {
  const extension = extname(path).toLowerCase();
  const format = CONTAINERS.get(extension);
  if (format !== undefined) {
    throw new UserError('unsupported', 'format-unsupported', {
      what: `${path} is a ${format} file, which cannot be used in place`,
      todo: `take it into the library: polyboot image import "${path}"`,
    });
  }
  if (COMPRESSED.has(extension)) {
    throw new UserError('unsupported', 'format-unsupported', {
      what: `${path} is a compressed file`,
      todo: `take it into the library: polyboot image import "${path}"`,
    });
  }
  return extension === '.qcow2' ? 'qcow2' : 'raw';
}

/**
 * Throws UserError `foreign-parts` for a qcow2 file whose bytes are not all its own: a path inside
 * a file that somebody brought could name any file of this host (hostile case 35).
 */
export function refuseForeignParts(path: string, info: Qcow2Info): void {
  const { backing, dataFile, encryption, corrupt, unknownFeatures } = info;
  const reasons = [
    ...(backing === null ? [] : [`it stands on another file, "${printable(backing.file)}"`]),
    ...(dataFile === null ? [] : [`its data lies in another file, "${printable(dataFile)}"`]),
    ...(encryption === null ? [] : ['it is encrypted']),
    ...(corrupt ? ['it is marked as damaged'] : []),
    ...unknownFeatures.map((feature) => `it needs the feature "${printable(feature)}"`),
  ];
  if (reasons.length === 0) return;
  throw new UserError('invalid', 'foreign-parts', {
    what: `${path} cannot be taken into the library`,
    why: reasons.join('; '),
    todo: `where it was made, write it as one plain file: qemu-img convert -O qcow2 OLD NEW`,
  });
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

/** `sizeBytes` without the part of a block at its end. */
export function wholeBlocks(sizeBytes: number, blockBytes: number): number {
  return Math.floor(sizeBytes / blockBytes) * blockBytes;
}
