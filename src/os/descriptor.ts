import { bindCall, check } from './libc.ts';

const close = bindCall('int close(int fd)');
const fcntl = bindCall('int fcntl(int fd, int command, int argument)');
/** fcntl(2); Linux, all architectures. */
const F_DUPFD_CLOEXEC = 1030;

/**
 * A second descriptor of the same open file or socket. It stays open when the first is closed, in
 * any thread: descriptors belong to the process. Throws EnvironmentError (EMFILE, EBADF).
 */
export function duplicateDescriptor(fd: number): number {
  return check(fcntl()(fd, F_DUPFD_CLOEXEC, 0), 'cannot duplicate a descriptor');
}

/**
 * Closes a descriptor that came from a native call. Node's own close is for what Node has opened:
 * in a worker it warns of others.
 */
export function closeDescriptor(fd: number): void {
  close()(fd);
}
