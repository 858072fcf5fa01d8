import { basename, extname } from 'node:path';
import { UserError } from '#base/mod.ts';

/** Formats that disks come in and go out. */
export const DISK_FORMATS = ['raw', 'qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];
/** An ISO is raw bytes with larger blocks. */
export const IMPORT_FORMATS = [...DISK_FORMATS, 'iso'] as const;
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/** What may be around a file. */
export const COMPRESSIONS = ['gz', 'xz', 'zst'] as const;
export type Compression = (typeof COMPRESSIONS)[number];

const BY_ENDING: Readonly<Record<string, ImportFormat>> = {
  '.img': 'raw',
  '.raw': 'raw',
  '.dd': 'raw',
  '.bin': 'raw',
  '.ima': 'raw',
  '.qcow2': 'qcow2',
  '.vmdk': 'vmdk',
  '.vhd': 'vpc',
  '.vpc': 'vpc',
  '.vhdx': 'vhdx',
  '.vdi': 'vdi',
  '.iso': 'iso',
};

/** What a file is, by its name. */
export type FileKind = { readonly format?: ImportFormat; readonly compression?: Compression };

/**
 * What a file is by its name alone: content is never asked (hostile case 35: a guest can write any
 * header to the first sector of its raw disk). "a.img.gz" → raw within gz.
 */
export function kindByName(path: string): FileKind {
  let name = basename(path).toLowerCase();
  const compression = COMPRESSIONS.find((ending) => name.endsWith(`.${ending}`));
  if (compression !== undefined) name = name.slice(0, -compression.length - 1);
  const format = BY_ENDING[extname(name)];
  return {
    ...(format === undefined ? {} : { format }),
    ...(compression === undefined ? {} : { compression }),
  };
}

/** Throws UserError `format-unknown`: neither the name nor the caller says what the file is. */
export function formatUnknown(path: string): UserError {
  return new UserError('invalid', 'format-unknown', {
    what: `what kind of disk image is ${path}?`,
    why: 'its name does not say, and its content is not trusted to',
    todo: `say it: --format ${IMPORT_FORMATS.join('|')}`,
  });
}
