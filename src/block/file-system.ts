import type { Stats } from 'node:fs';
import { statfs } from 'node:fs/promises';

/**
 * What a file system means for an image on it. `memory`: nothing of it ever waits for a disk.
 * `local`: one of this machine, or a block device: to write to a mapping is the same as pwrite(2),
 * with the same word about errors. `other`: a network's or FUSE's may answer a write of a mapping
 * and fail it later, when nobody listens.
 */
export type FileSystemKind = 'memory' | 'local' | 'other';

/**
 * statfs(2) types (linux/magic.h): tmpfs and ramfs; ext4, XFS, btrfs, and overlayfs, whose files
 * are those of one of these.
 */
const MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);
const LOCAL: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x794c7630]);

/** The kind that an image, a file or a block device, is on. Throws as statfs(2) does. */
export async function fileSystemOf(path: string, stats: Stats): Promise<FileSystemKind> {
  return stats.isFile() ? await fileSystemAt(path) : 'local';
}

/** The kind of the file system at `path`. Throws as statfs(2) does. */
export async function fileSystemAt(path: string): Promise<FileSystemKind> {
  const { type } = await statfs(path);
  if (MEMORY.has(type)) return 'memory';
  return LOCAL.has(type) ? 'local' : 'other';
}

/** How it can be known what of a file is resident: `RawFile.residency`. */
export function residencyOn(kind: FileSystemKind, nowait: boolean): 'ask' | 'always' | 'never' {
  if (nowait) return 'ask';
  return kind === 'memory' ? 'always' : 'never';
}
