import { DecodeError } from '#base/mod.ts';
import { cString, u32At } from './options/basic.ts';
import { OPTION } from './options/codes.ts';
import { type Options, readOptions, wireBytes, writeOption } from './options/raw.ts';

/** The fixed header of BOOTP (RFC 951, RFC 2131 §2) and where its fields lie. */
export const HEADER = {
  op: 0,
  htype: 1,
  hlen: 2,
  hops: 3,
  xid: 4,
  secs: 8,
  flags: 10,
  ciaddr: 12,
  yiaddr: 16,
  siaddr: 20,
  giaddr: 24,
  chaddr: 28,
  sname: 44,
  file: 108,
  cookie: 236,
  options: 240,
} as const;

/** op of what clients send. */
export const BOOT_REQUEST = 1;
/** op of what servers send. */
export const BOOT_REPLY = 2;
/** htype of Ethernet. */
export const ETHERNET = 1;
/** Flag bit 0 (RFC 2131 figure 2): the client cannot take unicast before it has an address. */
export const BROADCAST_FLAG = 0x8000;

const MAGIC_COOKIE = 0x63825363;
const CHADDR_BYTES = 16;
const SNAME_BYTES = 64;
const FILE_BYTES = 128;
const OVERLOAD_FILE = 1;
const OVERLOAD_SNAME = 2;

/**
 * Smallest reply we send. "The Linux in-kernel DHCP client silently ignores any packet smaller"
 * (dnsmasq), as do several ROMs that expect BOOTP's 300 bytes.
 */
export const MINIMUM_BYTES = 300;

/**
 * A DHCP or BOOTP packet. IPv4 addresses are numbers, byte fields are views of what was decoded.
 */
export type DhcpPacket = {
  op: number;
  htype: number;
  hlen: number;
  hops: number;
  xid: number;
  secs: number;
  flags: number;
  ciaddr: number;
  yiaddr: number;
  siaddr: number;
  giaddr: number;
  /** 16 bytes, of which `hlen` count. */
  chaddr: Uint8Array;
  /** Latin-1 text; empty when option 52 gave the field to options. */
  sname: string;
  file: string;
  options: Options;
};

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** An empty packet to fill in. */
export function emptyPacket(op: number): DhcpPacket {
  return {
    op,
    htype: ETHERNET,
    hlen: 6,
    hops: 0,
    xid: 0,
    secs: 0,
    flags: 0,
    ciaddr: 0,
    yiaddr: 0,
    siaddr: 0,
    giaddr: 0,
    chaddr: NO_BYTES,
    sname: '',
    file: '',
    options: new Map(),
  };
}

/**
 * Decodes a datagram. Options of the overloaded fields (RFC 2132 §9.3) are joined to the others in
 * the order of RFC 3396 §5 (options, file, sname), and option 52 itself is spent by that. Throws
 * DecodeError: `truncated`, `op`, `cookie`, `hlen`, `overload`, `option-length`.
 */
export function decodePacket(bytes: Uint8Array): DhcpPacket {
  if (bytes.length < HEADER.options) {
    throw new DecodeError('truncated', `${bytes.length} bytes are no DHCP packet`, bytes.length);
  }
  const op = bytes[HEADER.op]!;
  if (op !== BOOT_REQUEST && op !== BOOT_REPLY) {
    throw new DecodeError('op', `op ${op} is neither request nor reply`, HEADER.op);
  }
  if (u32At(bytes, HEADER.cookie) !== MAGIC_COOKIE) {
    throw new DecodeError('cookie', 'no DHCP magic cookie', HEADER.cookie);
  }
  const hlen = bytes[HEADER.hlen]!;
  if (hlen > CHADDR_BYTES) {
    throw new DecodeError('hlen', `hardware address of ${hlen} bytes`, HEADER.hlen);
  }
  const options: Options = new Map();
  readOptions(bytes, HEADER.options, bytes.length, options);
  const overload = options.get(OPTION.overload);
  const spent = overload === undefined ? 0 : readOverloaded(bytes, overload, options);
  return {
    op,
    htype: bytes[HEADER.htype]!,
    hlen,
    hops: bytes[HEADER.hops]!,
    xid: u32At(bytes, HEADER.xid),
    secs: bytes[HEADER.secs]! * 256 + bytes[HEADER.secs + 1]!,
    flags: bytes[HEADER.flags]! * 256 + bytes[HEADER.flags + 1]!,
    ciaddr: u32At(bytes, HEADER.ciaddr),
    yiaddr: u32At(bytes, HEADER.yiaddr),
    siaddr: u32At(bytes, HEADER.siaddr),
    giaddr: u32At(bytes, HEADER.giaddr),
    chaddr: bytes.subarray(HEADER.chaddr, HEADER.sname),
    sname: (spent & OVERLOAD_SNAME) === 0 ? field(bytes, HEADER.sname, HEADER.file) : '',
    file: (spent & OVERLOAD_FILE) === 0 ? field(bytes, HEADER.file, HEADER.cookie) : '',
    options,
  };
}

function field(bytes: Uint8Array, at: number, end: number): string {
  return bytes[at] === 0 ? '' : cString(bytes.subarray(at, end));
}

function readOverloaded(bytes: Uint8Array, overload: Uint8Array, options: Options): number {
  const value = overload.length === 1 ? overload[0]! : 0;
  if (value < 1 || value > (OVERLOAD_FILE | OVERLOAD_SNAME)) {
    throw new DecodeError('overload', 'option 52 is not 1, 2 or 3', HEADER.options);
  }
  if ((value & OVERLOAD_FILE) !== 0) readOptions(bytes, HEADER.file, HEADER.cookie, options);
  if ((value & OVERLOAD_SNAME) !== 0) readOptions(bytes, HEADER.sname, HEADER.file, options);
  // An option 52 inside the overloaded fields means nothing (RFC 2131 §4.1).
  options.delete(OPTION.overload);
  return value;
}

/** Bytes of a packet up to and with END, without padding. */
export function packetBytes(packet: DhcpPacket): number {
  let length = HEADER.options + 1;
  for (const value of packet.options.values()) length += wireBytes(value);
  return length;
}

/**
 * Encodes a packet: options in map order, but message type first (old clients look there only) and
 * relay agent information last (RFC 3046 §2.1); padding to `minimumBytes` stands after END, since
 * Raspberry Pi firmware before 2020-01-17 refused option 0 inside (rpi-eeprom#82). Texts longer
 * than their field are cut; reply constructors leave room for the NUL themselves.
 */
export function encodePacket(packet: DhcpPacket, minimumBytes = MINIMUM_BYTES): Buffer {
  const bytes = Buffer.alloc(Math.max(minimumBytes, packetBytes(packet)));
  writeHeader(packet, bytes);
  let at: number = HEADER.options;
  const type = packet.options.get(OPTION.messageType);
  if (type !== undefined) at = writeOption(bytes, at, OPTION.messageType, type);
  for (const [code, value] of packet.options) {
    if (code === OPTION.messageType || code === OPTION.relayAgent) continue;
    at = writeOption(bytes, at, code, value);
  }
  const relay = packet.options.get(OPTION.relayAgent);
  if (relay !== undefined) at = writeOption(bytes, at, OPTION.relayAgent, relay);
  bytes[at] = OPTION.end;
  return bytes;
}

function writeHeader(packet: DhcpPacket, bytes: Buffer): void {
  bytes[HEADER.op] = packet.op;
  bytes[HEADER.htype] = packet.htype;
  bytes[HEADER.hlen] = packet.hlen;
  bytes[HEADER.hops] = packet.hops;
  bytes.writeUInt32BE(packet.xid, HEADER.xid);
  bytes.writeUInt16BE(packet.secs, HEADER.secs);
  bytes.writeUInt16BE(packet.flags, HEADER.flags);
  bytes.writeUInt32BE(packet.ciaddr, HEADER.ciaddr);
  bytes.writeUInt32BE(packet.yiaddr, HEADER.yiaddr);
  bytes.writeUInt32BE(packet.siaddr, HEADER.siaddr);
  bytes.writeUInt32BE(packet.giaddr, HEADER.giaddr);
  bytes.set(packet.chaddr.subarray(0, CHADDR_BYTES), HEADER.chaddr);
  bytes.write(packet.sname.slice(0, SNAME_BYTES), HEADER.sname, 'latin1');
  bytes.write(packet.file.slice(0, FILE_BYTES), HEADER.file, 'latin1');
  bytes.writeUInt32BE(MAGIC_COOKIE, HEADER.cookie);
}

/** Longest file name that the header holds with its NUL. */
export const FILE_FIELD_CHARACTERS: number = FILE_BYTES - 1;
