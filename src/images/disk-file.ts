import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { EnvironmentError, errnoOf, messageOf, UserError } from '#base/mod.ts';
import type { SectorIo } from '#disk/mod.ts';
import { blockDeviceGeometry } from '#os/mod.ts';

/** An open file or block device as the disk codecs want it; small synchronous reads and writes. */
export class DiskFile implements SectorIo {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly isBlockDevice: boolean;
  readonly logicalBlockBytes: number;

  private constructor(fd: number) {
    const stat = fstatSync(fd);
    this.fd = fd;
    this.isBlockDevice = stat.isBlockDevice();
    const geometry = this.isBlockDevice ? blockDeviceGeometry(fd) : undefined;
    this.sizeBytes = geometry?.sizeBytes ?? stat.size;
    this.logicalBlockBytes = geometry?.logicalBlockBytes ?? 512;
  }

  /**
   * Opens a regular file or a block device. Throws UserError `path-missing`, `path-kind`,
   * `path-busy` (a mounted device) or `path-forbidden`.
   */
  static open(path: string, mode: 'read' | 'write' = 'read'): DiskFile {
    const fd = openDisk(path, mode);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile() && !stat.isBlockDevice()) {
        throw new UserError('invalid', 'path-kind', {
          what: `${path} is neither a file nor a block device`,
          todo: 'name a disk image, a disk, a zvol or a logical volume',
        });
      }
      return new DiskFile(fd);
    } catch (e) {
      closeSync(fd);
      throw e;
    }
  }

  /** Takes over an open file; `close` closes it. */
  static of(fd: number): DiskFile {
    return new DiskFile(fd);
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    const out = new Uint8Array(lengthBytes);
    for (let at = 0; at < lengthBytes;) {
      const count = readSync(this.fd, out, at, lengthBytes - at, offsetBytes + at);
      if (count === 0) {
        throw new EnvironmentError('short-read', {
          what: `the image ended at byte ${offsetBytes + at} while it was read`,
          why: 'something has made it shorter',
        });
      }
      at += count;
    }
    return out;
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      at += writeSync(this.fd, bytes, at, bytes.length - at, offsetBytes + at);
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}

function openDisk(path: string, mode: 'read' | 'write'): number {
  // O_NONBLOCK: a FIFO must not hang us. O_EXCL without O_CREAT: EBUSY for a device in use.
  const access = mode === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const flags = access | constants.O_NONBLOCK;
  try {
    return openSync(path, mode === 'write' ? flags | constants.O_EXCL : flags);
  } catch (e) {
    throw openError(path, e);
  }
}

function openError(path: string, e: unknown): Error {
  switch (errnoOf(e) ?? '') {
    case 'ENOENT':
    case 'ENOTDIR':
      return new UserError('not-found', 'path-missing', {
        what: `there is no ${path}`,
        todo: 'check the path',
      });
    case 'EACCES':
    case 'EPERM':
      return new UserError('forbidden', 'path-forbidden', {
        what: `${path} may not be opened`,
        why: messageOf(e),
        todo: 'give the user that runs polyboot the right to it',
      });
    case 'EBUSY':
      return new UserError('conflict', 'path-busy', {
        what: `${path} is in use by this computer`,
        why: 'it is mounted, or part of a RAID, LVM or ZFS',
        todo: 'unmount it first',
      });
    case 'ELOOP':
    case 'EISDIR':
    case 'ENXIO':
      return new UserError('invalid', 'path-kind', {
        what: `${path} is neither a file nor a block device`,
        todo: 'name a disk image, a disk, a zvol or a logical volume',
      });
    default:
      return new EnvironmentError(
        'path-open',
        { what: `${path} cannot be opened`, why: messageOf(e) },
        e instanceof Error ? { cause: e } : {},
      );
  }
}
