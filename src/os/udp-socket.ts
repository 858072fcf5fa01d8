import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { EnvironmentError } from '#base/mod.ts';
import { interfaceIndex, interfaceNameBytes, noInterface } from './interface-name.ts';
import { bindCall, check, errnoText, lastErrno, systemError } from './libc.ts';
import { AF_INET, AF_INET6, socketAddress } from './socket-address.ts';

/** How a UDP socket is opened; see `openUdpSocket`. */
export type UdpSocketOptions = {
  readonly family: 4 | 6;
  /** Bind to this interface only (SO_BINDTODEVICE): broadcasts go out and come in there. */
  readonly interface?: string;
  /** Local address; default: any. */
  readonly address?: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly broadcast?: boolean;
  /** Share the port with sockets that say so too (another interface's, a server being replaced). */
  readonly reuseAddress?: boolean;
  /** Receive buffer; as root beyond net.core.rmem_max. */
  readonly receiveBufferBytes?: number;
  /** Send buffer; as root beyond net.core.wmem_max. */
  readonly sendBufferBytes?: number;
};

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_BROADCAST = 6;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_BINDTODEVICE = 25;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const socket = bindCall('int socket(int family, int type, int protocol)');
const bind = bindCall('int bind(int fd, void *address, unsigned int length)');
const setsockopt = bindCall(
  'int setsockopt(int fd, int level, int name, void *value, unsigned int length)',
);

/** Sets a socket option of type int; returns 0 or the errno. */
export function setIntOption(fd: number, level: number, name: number, value: number): number {
  return setOption(fd, level, name, new Uint8Array(new Int32Array([value]).buffer));
}

/** Sets a socket option; returns 0 or the errno. */
export function setOption(fd: number, level: number, name: number, value: Uint8Array): number {
  return setsockopt()(fd, level, name, value, value.length) < 0 ? lastErrno() : 0;
}

/** socket(2), non-blocking and close-on-exec; throws EnvironmentError. */
export function openSocket(family: number, type: number, protocol: number): number {
  const fd = socket()(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  return check(fd, 'cannot open a socket', 'run as root (CAP_NET_RAW) for raw sockets');
}

/** Binds the socket to an interface. Throws EnvironmentError `no-interface`, `EPERM`. */
export function bindToInterface(fd: number, name: string): void {
  interfaceIndex(name); // a clear error for a name that is not there, before one about rights
  const errno = setOption(fd, SOL_SOCKET, SO_BINDTODEVICE, interfaceNameBytes(name));
  if (errno === 0) return;
  if (errno === constants.errno.ENODEV) throw noInterface(name);
  throw systemError(
    errno,
    `cannot bind to the interface ${name}`,
    'run as root, or grant CAP_NET_RAW and CAP_NET_BIND_SERVICE',
  );
}

/**
 * Opens and binds a UDP socket and returns its descriptor, for `dgram`'s `bind({ fd })`, which then
 * owns it. Node itself cannot bind to an interface. Throws EnvironmentError with the errno name as
 * code (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …) or `no-interface`.
 */
export function openUdpSocket(options: UdpSocketOptions): number {
  const fd = openSocket(options.family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
  try {
    configure(fd, options);
    const address = options.address ?? (options.family === 4 ? '0.0.0.0' : '::');
    const name = socketAddress(address, options.port);
    if (bind()(fd, name, name.length) < 0) throw bindError(lastErrno(), address, options);
    return fd;
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

function configure(fd: number, options: UdpSocketOptions): void {
  const must = (errno: number, what: string): void => {
    if (errno !== 0) throw systemError(errno, what);
  };
  if (options.interface !== undefined) bindToInterface(fd, options.interface);
  if (options.reuseAddress === true) {
    must(setIntOption(fd, SOL_SOCKET, SO_REUSEADDR, 1), 'cannot share the port');
  }
  if (options.broadcast === true) {
    must(setIntOption(fd, SOL_SOCKET, SO_BROADCAST, 1), 'cannot allow broadcasts');
  }
  if (options.family === 6) {
    must(setIntOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), 'cannot keep IPv4 out');
  }
  const size = (bytes: number | undefined, force: number, plain: number): void => {
    if (bytes === undefined || setIntOption(fd, SOL_SOCKET, force, bytes) === 0) return;
    // Not root: as much as net.core.rmem_max and wmem_max allow.
    must(setIntOption(fd, SOL_SOCKET, plain, bytes), 'cannot size the socket buffers');
  };
  size(options.receiveBufferBytes, SO_RCVBUFFORCE, SO_RCVBUF);
  size(options.sendBufferBytes, SO_SNDBUFFORCE, SO_SNDBUF);
}

function bindError(errno: number, address: string, options: UdpSocketOptions): EnvironmentError {
  const { EADDRINUSE, EACCES, EADDRNOTAVAIL } = constants.errno;
  const what = `cannot listen on UDP ${address} port ${options.port}`;
  const where = options.interface === undefined ? '' : ` on ${options.interface}`;
  if (errno === EADDRINUSE) {
    return new EnvironmentError('EADDRINUSE', {
      what,
      why: `another program already listens there${where}`,
      todo: `find it with \`ss -ulpn sport = :${options.port}\` and stop it`,
    });
  }
  if (errno === EACCES) {
    return new EnvironmentError('EACCES', {
      what,
      why: 'ports below 1024 belong to root',
      todo: 'run as root, or grant CAP_NET_BIND_SERVICE',
    });
  }
  if (errno === EADDRNOTAVAIL) {
    return new EnvironmentError('EADDRNOTAVAIL', {
      what,
      why: 'this host has no such address',
      todo: 'see `ip address`, and name one of those',
    });
  }
  return systemError(errno, `${what}: ${errnoText(errno)}`);
}
