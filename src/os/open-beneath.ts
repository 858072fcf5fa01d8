import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import { UserError, errnoOf } from '#base/mod.ts';
import { bindCall, errnoName, lastErrno, systemError } from './libc.ts';

/**
 * Opens a file that is certainly below a folder: openat2(2) with RESOLVE_BENEATH. `..`, absolute
 * paths, symbolic links that leave the folder and /proc's magic links are refused by the kernel
 * itself, so there is no check that a rename could outrun (hostile case 12).
 */
const SYS_OPENAT2 = 437; // the same on every architecture
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;
const O_CLOEXEC = 0o2000000;
/** PATH_MAX of Linux, with its NUL. */
const PATH_MAX_BYTES = 4096;

const syscall = bindCall(
  'long syscall(long number, long a, void *b, void *c, long d, long e, long f)',
);

/**
 * Opens `path` below the folder `rootFd`, for reading: a regular file, or a folder with
 * `directory`. O_NONBLOCK, so that a FIFO cannot hang us; O_CLOEXEC. The caller closes the fd.
 * Throws UserError `not-found`, or `forbidden` when the path leaves the folder, is no regular file,
 * or may not be read; EnvironmentError for the rest (too many open files).
 */
export function openBeneath(
  rootFd: number,
  path: string,
  options: { readonly directory?: boolean } = {},
): number {
  const bytes = Buffer.from(`${path}\0`, 'utf8');
  if (path === '' || bytes.indexOf(0) !== bytes.length - 1 || bytes.length > PATH_MAX_BYTES) {
    throw refused('not-found', path, 'no file can have that name');
  }
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | O_CLOEXEC;
  const fd = open(
    rootFd,
    bytes,
    options.directory === true ? flags | constants.O_DIRECTORY : flags,
  );
  if (fd < 0) throw openError(-fd, path);
  const stat = fstatSync(fd);
  if (options.directory === true ? stat.isDirectory() : stat.isFile()) return fd;
  closeSync(fd);
  throw refused('forbidden', path, 'it is not a regular file');
}

/** fd, or a negative errno. */
function open(rootFd: number, path: Uint8Array, flags: number): number {
  // struct open_how { u64 flags, mode, resolve }
  const resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const how = new Uint8Array(new Uint32Array([flags, 0, 0, 0, resolve, 0]).buffer);
  const fd = syscall()(SYS_OPENAT2, rootFd, path, how, how.byteLength, 0, 0);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  // Kernels before 5.6 lack the call; the seccomp filters of old container hosts answer EPERM.
  const missing = errno === os.errno.ENOSYS || errno === os.errno.EPERM;
  return missing ? openStepwise(rootFd, Buffer.from(path).toString().slice(0, -1), flags) : -errno;
}

/**
 * The same without openat2: one component at a time, no `..` and no symbolic link at all (stricter
 * than above, safe against renames). Exported for its test.
 */
export function openStepwise(rootFd: number, path: string, flags: number): number {
  const parts = path.split('/').filter((p) => p !== '' && p !== '.');
  if (path.startsWith('/') || parts.includes('..') || parts.length === 0) return -os.errno.EXDEV;
  const last = parts.length - 1;
  let folder = rootFd;
  try {
    for (const [n, part] of parts.entries()) {
      const want = n === last ? flags : constants.O_RDONLY | constants.O_DIRECTORY;
      const next = openSync(`/proc/self/fd/${folder}/${part}`, want | constants.O_NOFOLLOW);
      if (folder !== rootFd) closeSync(folder);
      folder = next;
    }
    return folder;
  } catch (e) {
    if (folder !== rootFd) closeSync(folder);
    return -(Object.entries(os.errno).find(([name]) => name === errnoOf(e))?.[1] ?? os.errno.EIO);
  }
}

function openError(errno: number, path: string): Error {
  const { ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL, EXDEV, ELOOP, EACCES, EPERM, ENXIO } = os.errno;
  if ([ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL].includes(errno)) {
    return refused('not-found', path, 'there is no such file');
  }
  if (errno === EXDEV || errno === ELOOP) {
    return refused('forbidden', path, 'it leads out of the folder');
  }
  if (errno === EACCES || errno === EPERM) return refused('forbidden', path, 'it is not readable');
  if (errno === ENXIO) return refused('forbidden', path, 'it is not a regular file');
  return systemError(errno, `cannot open "${path}" (${errnoName(errno)})`);
}

function refused(kind: 'not-found' | 'forbidden', path: string, why: string): UserError {
  const shown = path.length > 100 ? `${path.slice(0, 100)}…` : path;
  return new UserError(kind, kind, { what: `cannot open "${shown}"`, why });
}
