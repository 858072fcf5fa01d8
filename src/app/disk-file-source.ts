import { extname, resolve } from 'node:path';
import { UserError } from '#base/mod.ts';
import type { DiskSource } from '#block/mod.ts';

/** The formats of disk files that are served as they are. */
export const FILE_FORMATS = ['raw', 'qcow2'] as const;
export type FileFormat = (typeof FILE_FORMATS)[number];

/** A disk file as a command line names it. */
export type DiskFileName = {
  /** A path, or an `nbd://` or `nbd+unix://` address. */
  readonly file: string;
  readonly format?: FileFormat | undefined;
  /** What an overlay stands on; the path inside the file is never followed. */
  readonly backing?: string | undefined;
  readonly backingFormat?: FileFormat | undefined;
  /** Logical block of a raw disk; default 512. */
  readonly blockBytes?: number;
};

/**
 * Files of formats that we do not serve: shown raw they would be a broken disk, and writing would
 * destroy them.
 */
const OTHER_FORMATS = ['.vmdk', '.vhd', '.vhdx', '.vdi'];

/**
 * What a disk file is made of. The format is what the caller says, else what the name says, never
 * what the content looks like (hostile case 35). Throws UserError.
 */
export function diskFileSource(name: DiskFileName): DiskSource {
  const { file, backing, backingFormat, blockBytes } = name;
  if (/^nbd(\+unix)?:/.test(file)) {
    return { kind: 'nbd', url: file, ...(blockBytes === undefined ? {} : { blockBytes }) };
  }
  const path = resolve(file);
  const format = name.format ?? formatByName(path);
  if (format === 'raw') {
    if (backing !== undefined) throw noOverlay(path);
    return { kind: 'raw', path, ...(blockBytes === undefined ? {} : { blockBytes }) };
  }
  if (backing === undefined) return { kind: 'qcow2', path };
  return {
    kind: 'qcow2',
    path,
    backing: diskFileSource({ file: backing, format: backingFormat }),
  };
}

function formatByName(path: string): FileFormat {
  const extension = extname(path).toLowerCase();
  if (extension === '.qcow2') return 'qcow2';
  if (!OTHER_FORMATS.includes(extension)) return 'raw';
  throw new UserError('unsupported', 'image-format', {
    what: `${path} cannot be served`,
    why: `its name says ${extension.slice(1)}; only raw and qcow2 files and devices are`,
    todo: 'convert it: qemu-img convert -O raw IN OUT.img, or polyboot image import',
  });
}

function noOverlay(path: string): UserError {
  return new UserError('invalid', 'backing-raw', {
    what: `${path} is raw and stands on nothing`,
    why: 'only a qcow2 file can be an overlay',
    todo: 'leave --backing out, or say --format qcow2',
  });
}
