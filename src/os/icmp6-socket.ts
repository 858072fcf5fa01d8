import { closeSync } from 'node:fs';
import { UserError } from '#base/mod.ts';
import { interfaceIndex } from './interface-name.ts';
import { bindCall, check, systemError } from './libc.ts';
import { AF_INET6, socketAddress } from './socket-address.ts';
import { bindToInterface, openSocket, setIntOption, setOption } from './udp-socket.ts';

/**
 * Raw ICMPv6 on one interface, as router advertisements need it (RFC 4861 §6.1: hop limit 255,
 * joined to all-routers). The kernel computes the checksum (RFC 3542 §3.1).
 */
const SOCK_RAW = 3;
const SOCK_DGRAM = 2;
const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_JOIN_GROUP = 20;
const ICMP6_FILTER = 1;
const HOP_LIMIT = 255;

const dup3 = bindCall('int dup3(int from, int onto, int flags)');
const O_CLOEXEC = 0o2000000;

/** What a raw ICMPv6 socket listens to. */
export type Icmp6Options = {
  readonly interface: string;
  /** ICMPv6 types to receive; the kernel drops the rest. */
  readonly types: readonly number[];
  /** Multicast groups to join on the interface, such as `ff02::2`. */
  readonly groups: readonly string[];
};

/** Opens the socket and returns its descriptor. Needs CAP_NET_RAW. Throws EnvironmentError. */
export function openIcmp6Socket(options: Icmp6Options): number {
  const fd = openSocket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  try {
    bindToInterface(fd, options.interface);
    const index = interfaceIndex(options.interface);
    const must = (errno: number): void => {
      if (errno !== 0) throw systemError(errno, `cannot speak ICMPv6 on ${options.interface}`);
    };
    must(setIntOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOP_LIMIT));
    must(setIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOP_LIMIT));
    must(setIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index));
    must(setIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0));
    must(setOption(fd, IPPROTO_ICMPV6, ICMP6_FILTER, typeFilter(options.types)));
    for (const group of options.groups) {
      must(setOption(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, membership(group, index)));
    }
    return fd;
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

/**
 * Puts the file behind `fd` in the place of the one behind `onto`, and closes `fd`. dgram takes
 * only UDP sockets: so it gets a fresh one (`openPlaceholder`), and the raw socket takes its place
 * before the event loop has seen either.
 */
export function replaceDescriptor(fd: number, onto: number): void {
  check(dup3()(fd, onto, O_CLOEXEC), 'cannot hand over a socket');
  closeSync(fd);
}

/** An unbound UDP socket over IPv6, to be replaced. */
export function openPlaceholder(): number {
  return openSocket(AF_INET6, SOCK_DGRAM, 0);
}

/** struct icmp6_filter: 256 bits, a set bit blocks that type. */
function typeFilter(types: readonly number[]): Uint8Array {
  const words = new Uint32Array(8).fill(0xffffffff);
  for (const type of types) {
    if (!Number.isInteger(type) || type < 0 || type > 255) {
      throw new UserError('invalid', 'icmp6-type', { what: `${type} is no ICMPv6 type` });
    }
    words[type >> 5] = (words[type >> 5] ?? 0) & ~(1 << (type & 31));
  }
  return new Uint8Array(words.buffer);
}

/** struct ipv6_mreq { in6_addr group; unsigned int interface }. */
function membership(group: string, index: number): Uint8Array {
  const out = new Uint8Array(20);
  out.set(socketAddress(group, 0).subarray(8, 24));
  new DataView(out.buffer).setUint32(16, index, true);
  return out;
}
