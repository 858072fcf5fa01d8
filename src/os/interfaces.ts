import { closeSync } from 'node:fs';
import { formatIpv4, formatMac } from '#base/mod.ts';
import ipaddr from 'ipaddr.js';
import { interfaceNameBytes } from './interface-name.ts';
import { bindCall, check, koffi, lazy } from './libc.ts';
import { AF_INET, AF_INET6 } from './socket-address.ts';
import { openSocket } from './udp-socket.ts';

/** One address of an interface. */
export type InterfaceAddress = { readonly address: string; readonly prefix: number };

/** One network interface of this process's network namespace. */
export type InterfaceInfo = {
  readonly name: string;
  readonly index: number;
  /** Lower case with colons; all zeros for the loopback, empty for one without a link address. */
  readonly mac: string;
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  /** Has a link (IFF_RUNNING): a bridge without ports is up and not running. */
  readonly running: boolean;
  readonly loopback: boolean;
  readonly ipv4: readonly InterfaceAddress[];
  /** Without zone; link-local ones begin with fe80. */
  readonly ipv6: readonly InterfaceAddress[];
};

const AF_PACKET = 17;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;
const SIOCGIFMTU = 0x8921;
const SOCK_DGRAM = 2;
/** A bound on the kernel's list, so that a broken one cannot hold us. */
const MOST_ENTRIES = 65_536;

const getifaddrs = bindCall('int getifaddrs(void *out)');
const freeifaddrs = bindCall('void freeifaddrs(uintptr_t list)');
const ioctl = bindCall('int ioctl(int fd, unsigned long request, void *argument)');

/** Reads native memory as bytes, copied. */
const peek = lazy(() => (address: number, length: number): DataView => {
  return new DataView(koffi().view(BigInt(address), length).slice(0));
});

type Draft = {
  -readonly [K in keyof InterfaceInfo]: InterfaceInfo[K];
} & { ipv4: InterfaceAddress[]; ipv6: InterfaceAddress[] };

/**
 * All interfaces of this network namespace, by getifaddrs(3). Not os.networkInterfaces(), which
 * hides those that are down or have no link; not /sys, which may show another namespace.
 */
export function readInterfaces(): InterfaceInfo[] {
  const found = new Map<string, Draft>();
  const head = new Uint8Array(8);
  check(getifaddrs()(head), 'cannot list the network interfaces');
  const list = addressAt(new DataView(head.buffer), 0);
  try {
    let at = list;
    for (let n = 0; at !== 0 && n < MOST_ENTRIES; n++) {
      // struct ifaddrs { next, name, u32 flags, addr, netmask, … }
      const entry = peek()(at, 40);
      addEntry(found, entry);
      at = addressAt(entry, 0);
    }
  } finally {
    freeifaddrs()(list);
  }
  return [...found.values()].sort((a, b) => a.index - b.index);
}

function addEntry(found: Map<string, Draft>, entry: DataView): void {
  const name = koffi().decode.string(BigInt(addressAt(entry, 8)));
  const flags = entry.getUint32(16, true);
  const address = addressAt(entry, 24);
  const draft = found.get(name) ?? {
    name,
    index: 0,
    mac: '',
    mtu: mtuOf(name),
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    ipv4: [],
    ipv6: [],
  };
  found.set(name, draft);
  if (address === 0) return;
  const family = peek()(address, 2).getUint16(0, true);
  if (family === AF_PACKET) {
    // struct sockaddr_ll { u16 family, protocol; int index; u16 hatype; u8 pkttype, halen, addr[8]
    // }
    const link = peek()(address, 20);
    draft.index = link.getInt32(4, true);
    if (link.getUint8(11) === 6) draft.mac = formatMac(new Uint8Array(link.buffer, 12, 6));
    return;
  }
  const mask = addressAt(entry, 32);
  if (family === AF_INET) draft.ipv4.push(read4(address, mask));
  if (family === AF_INET6) draft.ipv6.push(read6(address, mask));
}

function read4(address: number, mask: number): InterfaceAddress {
  const text = formatIpv4(peek()(address, 8).getUint32(4));
  return { address: text, prefix: mask === 0 ? 32 : countBits(peek()(mask, 8), 4, 4) };
}

function read6(address: number, mask: number): InterfaceAddress {
  const bytes = [...new Uint8Array(peek()(address, 28).buffer, 8, 16)];
  const text = ipaddr.fromByteArray(bytes).toString();
  return { address: text, prefix: mask === 0 ? 128 : countBits(peek()(mask, 28), 8, 16) };
}

function countBits(view: DataView, at: number, length: number): number {
  let bits = 0;
  for (let n = at; n < at + length; n++) {
    for (let byte = view.getUint8(n); byte !== 0; byte &= byte - 1) bits += 1;
  }
  return bits;
}

function addressAt(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

function mtuOf(name: string): number {
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0);
  try {
    // struct ifreq { char name[16]; union { int mtu; … } 24 bytes }
    const request = new Uint8Array(40);
    request.set(interfaceNameBytes(name));
    check(ioctl()(fd, SIOCGIFMTU, request), `cannot ask ${name} for its MTU`);
    return new DataView(request.buffer).getInt32(16, true);
  } finally {
    closeSync(fd);
  }
}
