import { bindCall, check } from './libc.ts';

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
