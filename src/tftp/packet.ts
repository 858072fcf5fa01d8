import { ByteReader, ByteWriter, DecodeError } from '#base/mod.ts';

/** Opcodes of RFC 1350 §5 and RFC 2347. */
export const OPCODE = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const;

/** Error codes of RFC 1350 §5 and RFC 2347. */
export const ERROR_CODE = {
  undefined: 0,
  notFound: 1,
  accessViolation: 2,
  diskFull: 3,
  illegalOperation: 4,
  unknownTransferId: 5,
  fileExists: 6,
  noSuchUser: 7,
  optionRefused: 8,
} as const;

/** An option as sent; names are in lower case (they are case-insensitive, RFC 2347). */
export type TftpOption = readonly [name: string, value: string];

/** A read or write request. Text is one character per byte. */
export type RequestPacket = {
  readonly op: 'rrq' | 'wrq';
  readonly name: string;
  /** In lower case. */
  readonly mode: string;
  readonly options: readonly TftpOption[];
};

/** Any TFTP packet. */
export type Packet =
  | RequestPacket
  | { readonly op: 'data'; readonly block: number; readonly bytes: Uint8Array }
  | { readonly op: 'ack'; readonly block: number }
  | { readonly op: 'error'; readonly code: number; readonly message: string }
  | { readonly op: 'oack'; readonly options: readonly TftpOption[] };

/**
 * RFC 2347 allows 512 bytes for a request. Four times that is patience with long paths; more is no
 * request.
 */
export const REQUEST_MAX_BYTES = 2048;
/** Options looked at in one packet; RFC 2348, 2349 and 7440 define five. */
const MOST_OPTIONS = 32;

/**
 * Decodes one packet. Throws DecodeError: `truncated`, `unterminated`, `opcode`, `too-long`,
 * `too-many-options`, `empty-name`.
 */
export function decodePacket(bytes: Uint8Array): Packet {
  const r = new ByteReader(bytes);
  const opcode = r.u16();
  switch (opcode) {
    case OPCODE.rrq:
      return decodeRequest(r, 'rrq');
    case OPCODE.wrq:
      return decodeRequest(r, 'wrq');
    case OPCODE.data:
      return { op: 'data', block: r.u16(), bytes: r.rest() };
    case OPCODE.ack:
      // Some ROMs send an ACK padded to the minimum Ethernet frame: what follows is ignored.
      return { op: 'ack', block: r.u16() };
    case OPCODE.error:
      return { op: 'error', code: r.u16(), message: errorText(r) };
    case OPCODE.oack:
      return { op: 'oack', options: readOptions(r) };
    default:
      throw new DecodeError('opcode', `${opcode} is no TFTP opcode`, 0);
  }
}

function decodeRequest(r: ByteReader, op: 'rrq' | 'wrq'): RequestPacket {
  if (r.remaining > REQUEST_MAX_BYTES) r.fail('too-long', 'a request of that size');
  const name = readText(r);
  if (name === '') r.fail('empty-name', 'a request without a file name');
  const mode = readText(r).toLowerCase();
  return { op, name, mode, options: readOptions(r) };
}

function readOptions(r: ByteReader): TftpOption[] {
  const options: TftpOption[] = [];
  while (r.remaining > 0) {
    const name = readText(r).toLowerCase();
    if (name === '') break; // ROMs that pad their request with zeros
    if (options.length === MOST_OPTIONS) r.fail('too-many-options', 'too many options');
    options.push([name, readText(r)]);
  }
  return options;
}

function readText(r: ByteReader): string {
  let text = '';
  while (r.remaining > 0) {
    const c = r.u8();
    if (c === 0) return text;
    text += String.fromCharCode(c);
  }
  return r.fail('unterminated', 'a string without its NUL');
}

/** ERROR's text; a missing NUL is forgiven, the packet ends a transfer anyway. */
function errorText(r: ByteReader): string {
  const text = Buffer.from(r.rest()).toString('latin1');
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/** Encodes one packet; text must hold no NUL and no character above 0xff. */
export function encodePacket(packet: Packet): Buffer {
  const w = new ByteWriter(64).u16(OPCODE[packet.op]);
  switch (packet.op) {
    case 'rrq':
    case 'wrq':
      w.text(packet.name).u8(0).text(packet.mode).u8(0);
      writeOptions(w, packet.options);
      break;
    case 'data':
      w.u16(packet.block).bytes(packet.bytes);
      break;
    case 'ack':
      w.u16(packet.block);
      break;
    case 'error':
      w.u16(packet.code).text(packet.message).u8(0);
      break;
    case 'oack':
      writeOptions(w, packet.options);
      break;
  }
  return w.done();
}

function writeOptions(w: ByteWriter, options: readonly TftpOption[]): void {
  for (const [name, value] of options) w.text(name).u8(0).text(value).u8(0);
}
