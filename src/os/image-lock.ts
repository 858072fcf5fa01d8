import { fstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { UserError } from '#base/mod.ts';
import { bindCall, lastErrno, lazy, systemError } from './libc.ts';

/**
 * Image locks that QEMU understands (its block/file-posix.c and docs/devel/…/file locking). QEMU
 * holds *shared* open-file-description locks on single bytes: byte 100+p says "I use permission p",
 * byte 200+p says "I do not let others use p". After taking its own bytes, an opener tests that
 * nobody holds the opposite ones. So two openers can both fail, never both succeed.
 */
const USES_FROM = 100;
const FORBIDS_FROM = 200;
/** Permission bits of QEMU's block layer, by their number. */
const PERMISSION = { read: 0, write: 1, writeUnchanged: 2, resize: 3 } as const;

/**
 * What a holder does, and what it does not let others do: the same bytes as a QEMU guest's disk.
 * Reading is not forbidden, so `qemu-img convert -U` ("I know that it changes") still works;
 * without
 * -U the tools want that nobody writes, and fail.
 */
const MODES = {
  exclusive: {
    uses: [PERMISSION.read, PERMISSION.write, PERMISSION.resize],
    forbids: [PERMISSION.write, PERMISSION.writeUnchanged, PERMISSION.resize],
  },
  shared: {
    uses: [PERMISSION.read],
    forbids: [PERMISSION.write, PERMISSION.resize],
  },
} as const;

export type LockMode = keyof typeof MODES;

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

const fcntl = bindCall('int fcntl(int fd, int command, void *lock)');

/** One struct flock (64-bit off_t), reused: type, whence, padding, start, length, pid. */
const flock = lazy(() => {
  const bytes = new Uint8Array(32);
  return { bytes, view: new DataView(bytes.buffer) };
});

function callLock(
  fd: number,
  command: number,
  type: number,
  start: number,
  length: number,
): number {
  const { view, bytes } = flock();
  view.setInt16(0, type, true);
  view.setInt16(2, 0, true);
  view.setBigInt64(8, BigInt(start), true);
  view.setBigInt64(16, BigInt(length), true);
  view.setInt32(24, 0, true); // must be 0 for OFD locks
  return fcntl()(fd, command, bytes) < 0 ? lastErrno() : 0;
}

/** True when another open file description holds any lock on the byte. */
function heldByAnother(fd: number, byte: number): boolean {
  const errno = callLock(fd, F_OFD_GETLK, F_WRLCK, byte, 1);
  if (errno !== 0) throw lockError(errno);
  return flock().view.getInt16(0, true) !== F_UNLCK;
}

/**
 * Locks the image of `fd` against QEMU's tools, other polyboots and ourselves. `exclusive`: we
 * write, nobody else does; `shared`: anyone may read, nobody writes. The lock lives as long as the
 * open file description. Throws UserError conflict `image-in-use`, which names the processes that
 * hold the file where the kernel lets us see them, and EnvironmentError `no-locks` on a file system
 * without locks (some NFS).
 */
export function lockImage(fd: number, mode: LockMode): void {
  const { uses, forbids } = MODES[mode];
  const bytes = [...uses.map((p) => USES_FROM + p), ...forbids.map((p) => FORBIDS_FROM + p)];
  for (const byte of bytes) {
    const errno = callLock(fd, F_OFD_SETLK, F_RDLCK, byte, 1);
    if (errno === 0) continue;
    unlockImage(fd);
    throw lockError(errno);
  }
  const conflict =
    forbids.some((p) => heldByAnother(fd, USES_FROM + p)) ||
    uses.some((p) => heldByAnother(fd, FORBIDS_FROM + p));
  if (!conflict) return;
  unlockImage(fd);
  const holders = holdersOf(fd);
  const by = holders.length === 0 ? 'another process' : holders.join(', ');
  throw new UserError('conflict', 'image-in-use', {
    what: `the image cannot be opened ${mode === 'shared' ? 'for reading' : 'for writing'}`,
    why: `it is locked by ${by}`,
    todo: 'end that program, or let go of the image there, and try again',
  });
}

/** Gives back what `lockImage` took; a lock that is not held is no error. */
export function unlockImage(fd: number): void {
  callLock(fd, F_OFD_SETLK, F_UNLCK, USES_FROM, FORBIDS_FROM + 100 - USES_FROM);
}

function lockError(errno: number): Error {
  const { EAGAIN, EACCES } = constants.errno;
  if (errno === EAGAIN || errno === EACCES) {
    // Only a stranger's write lock can refuse a read lock: QEMU's own never do.
    return new UserError('conflict', 'image-in-use', {
      what: 'the image cannot be locked',
      why: 'another program holds a write lock on it',
      todo: 'end that program and try again',
    });
  }
  return systemError(
    errno,
    'the image cannot be locked, so nothing could stop two writers',
    'keep the image on a local file system, or on NFS 4 with locking',
  );
}

/**
 * Who has the file open, as "name (pid)": the kernel does not say who owns an OFD lock. Processes
 * of other users are invisible without root. Bounded: it stops at eight.
 */
function holdersOf(fd: number): string[] {
  const MOST_NAMED = 8;
  const own = fstatSync(fd);
  const found: string[] = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || found.length >= MOST_NAMED) continue;
    if (Number(pid) === process.pid ? countOpen(pid, own) > 1 : countOpen(pid, own) > 0) {
      found.push(describeProcess(pid));
    }
  }
  return found;
}

function countOpen(pid: string, own: { dev: number; ino: number }): number {
  let count = 0;
  try {
    for (const entry of readdirSync(`/proc/${pid}/fd`)) {
      const path = `/proc/${pid}/fd/${entry}`;
      if (!readlinkSync(path).startsWith('/')) continue; // sockets, pipes
      const s = statSync(path);
      if (s.dev === own.dev && s.ino === own.ino) count += 1;
    }
  } catch {
    // The process ended, or is not ours to look at.
  }
  return count;
}

function describeProcess(pid: string): string {
  try {
    return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (${pid})`;
  } catch {
    return `process ${pid}`;
  }
}
