import { DecodeError, UserError, printable } from '#base/mod.ts';
import {
  ALLOCATION_CONTEXT,
  DEFAULT_PAYLOAD_BYTES_MAX,
  HELLO_MAGIC,
  HandshakeFlag,
  Info,
  OLD_STYLE_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  STRING_BYTES_MAX,
  TransmissionFlag,
  uint64At,
} from './protocol.ts';

/** What a server says of an export, and what we agreed on. */
export type NbdExport = {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canZero: boolean;
  /** Requests are multiples of this; 1 when the server does not say. */
  readonly minimumBlockBytes: number;
  readonly preferredBlockBytes: number;
  /** The longest read or write. */
  readonly payloadBytesMax: number;
  /** Replies may come in chunks. */
  readonly structured: boolean;
  /** The id of base:allocation in this connection; null when it cannot be asked for. */
  readonly allocationContext: number | null;
};

/** `more`: send this and wait. `done`: the export is ours; `rest` belongs to what follows. */
export type HandshakeStep =
  | { readonly kind: 'more'; readonly send: readonly Buffer[] }
  | { readonly kind: 'done'; readonly export: NbdExport; readonly rest: Buffer };

/** A message of an option is a name or a text (4 KiB at most) and a few numbers. */
const OPTION_REPLY_BYTES_MAX = STRING_BYTES_MAX + 64;
/** Answers to one option: an export has some five kinds of information, each said once. */
const REPLIES_PER_OPTION_MAX = 64;

const HELLO_BYTES = 18;
const REPLY_HEADER_BYTES = 20;
const BLOCK_BYTES_MAX = 64 * 1024;

type Phase = 'hello' | 'structured' | 'context' | 'go' | 'done';

/**
 * The client's half of the fixed newstyle negotiation (doc/proto.md): hello → STRUCTURED_REPLY →
 * SET_META_CONTEXT → GO. Bytes in, bytes out; no clock and no socket. `look` asks INFO in place of
 * GO: it learns what the export is and leaves.
 *
 * Throws `DecodeError` for what is no NBD, `UserError` for what the server refuses.
 */
export class Handshake {
  readonly #exportName: Buffer;
  readonly #option: number;
  #phase: Phase = 'hello';
  #held: Buffer = Buffer.alloc(0);
  #replies = 0;
  #structured = false;
  #context: number | null = null;
  #size: { readonly sizeBytes: number; readonly flags: number } | null = null;
  #blocks = { minimum: 1, preferred: 4096, maximum: DEFAULT_PAYLOAD_BYTES_MAX };

  constructor(exportName: string, purpose: 'use' | 'look' = 'use') {
    this.#exportName = Buffer.from(exportName);
    this.#option = purpose === 'use' ? Option.GO : Option.INFO;
  }

  /** Takes what arrived. What is held back is bounded by the longest message. */
  receive(bytes: Uint8Array): HandshakeStep {
    this.#held = Buffer.concat([this.#held, bytes]);
    const send: Buffer[] = [];
    for (;;) {
      const taken = this.#phase === 'hello' ? this.#hello(send) : this.#reply(send);
      if (taken === 0) return { kind: 'more', send };
      this.#held = this.#held.subarray(taken);
      if (this.#phase === 'done') {
        return { kind: 'done', export: this.#agreed(), rest: this.#held };
      }
    }
  }

  #hello(send: Buffer[]): number {
    const held = this.#held;
    refuseOtherBytes(held, HELLO_MAGIC, 0);
    if (held.length >= 16 && held.readBigUInt64BE(8) === OLD_STYLE_MAGIC) throw tooOld();
    refuseOtherBytes(held, OPTION_MAGIC, 8);
    if (held.length < HELLO_BYTES) return 0;
    const flags = held.readUInt16BE(16);
    if ((flags & HandshakeFlag.FIXED_NEWSTYLE) === 0) throw tooOld();
    const ours = Buffer.alloc(4);
    ours.writeUInt32BE(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES));
    send.push(ours, option(Option.STRUCTURED_REPLY, []));
    this.#phase = 'structured';
    return HELLO_BYTES;
  }

  #reply(send: Buffer[]): number {
    const held = this.#held;
    refuseOtherBytes(held, OPTION_REPLY_MAGIC, 0);
    if (held.length < REPLY_HEADER_BYTES) return 0;
    const asked = this.#asked();
    const about = held.readUInt32BE(8);
    if (about !== asked) bad(`an answer to option ${about} when ${asked} was asked`, 8);
    const length = held.readUInt32BE(16);
    if (length > OPTION_REPLY_BYTES_MAX) bad(`an answer of ${length} bytes`, 16);
    const end = REPLY_HEADER_BYTES + length;
    if (held.length < end) return 0;
    this.#replies += 1;
    if (this.#replies > REPLIES_PER_OPTION_MAX) bad('too many answers to one option', 0);
    const type = held.readUInt32BE(12);
    const data = held.subarray(REPLY_HEADER_BYTES, end);
    if (this.#phase === 'structured') this.#structuredReply(type, send);
    else if (this.#phase === 'context') this.#contextReply(type, data, send);
    else this.#goReply(type, data);
    return end;
  }

  #asked(): number {
    if (this.#phase === 'structured') return Option.STRUCTURED_REPLY;
    return this.#phase === 'context' ? Option.SET_META_CONTEXT : this.#option;
  }

  #structuredReply(type: number, send: Buffer[]): void {
    this.#replies = 0;
    refuseTls(type);
    if (type === OptionReply.ACK) {
      this.#structured = true;
      this.#phase = 'context';
      const query = Buffer.from(ALLOCATION_CONTEXT);
      const data = [
        length32(this.#exportName),
        this.#exportName,
        number32(1),
        length32(query),
        query,
      ];
      send.push(option(Option.SET_META_CONTEXT, data));
    } else if (isError(type)) {
      this.#askForExport(send);
    } else {
      bad(`answer ${type} to a request for structured replies`, 12);
    }
  }

  #contextReply(type: number, data: Buffer, send: Buffer[]): void {
    refuseTls(type);
    if (type === OptionReply.META_CONTEXT) {
      if (data.length < 4) bad('a context without a number', 16);
      if (data.toString('latin1', 4) === ALLOCATION_CONTEXT) this.#context = data.readUInt32BE(0);
    } else if (type === OptionReply.ACK || isError(type)) {
      if (isError(type)) this.#context = null;
      this.#askForExport(send);
    } else {
      bad(`answer ${type} to a request for a context`, 12);
    }
  }

  #askForExport(send: Buffer[]): void {
    this.#phase = 'go';
    this.#replies = 0;
    const wanted = Buffer.alloc(4);
    wanted.writeUInt16BE(1, 0);
    wanted.writeUInt16BE(Info.BLOCK_SIZE, 2);
    send.push(option(this.#option, [length32(this.#exportName), this.#exportName, wanted]));
  }

  #goReply(type: number, data: Buffer): void {
    if (type === OptionReply.INFO) this.#info(data);
    else if (type === OptionReply.ACK) this.#phase = 'done';
    else if (isError(type)) throw refusal(type, this.#exportName.toString(), data);
    else bad(`answer ${type} to a request for an export`, 12);
  }

  #info(data: Buffer): void {
    if (data.length < 2) bad('information without a type', 16);
    const type = data.readUInt16BE(0);
    if (type === Info.EXPORT) {
      if (data.length !== 12) bad('information about the export of a wrong length', 16);
      const sizeBytes = uint64At(data, 2);
      if (sizeBytes < 0) bad('an export of more than 2^53 bytes', 22);
      this.#size = { sizeBytes, flags: data.readUInt16BE(10) };
    } else if (type === Info.BLOCK_SIZE) {
      if (data.length !== 14) bad('information about block sizes of a wrong length', 16);
      const minimum = data.readUInt32BE(2);
      const preferred = data.readUInt32BE(6);
      const maximum = data.readUInt32BE(10);
      if (!powerOfTwo(minimum) || minimum > BLOCK_BYTES_MAX) bad('a wrong minimum block', 22);
      if (!powerOfTwo(preferred) || preferred < Math.max(minimum, 512)) bad('a wrong block', 26);
      if (maximum < minimum) bad('a largest block below the smallest', 30);
      this.#blocks = { minimum, preferred, maximum };
    }
  }

  #agreed(): NbdExport {
    if (this.#size === null) return bad('an export without a size', 0);
    const { sizeBytes, flags } = this.#size;
    const has = (flag: number): boolean =>
      (flags & TransmissionFlag.HAS_FLAGS) !== 0 && (flags & flag) !== 0;
    const { minimum, preferred, maximum } = this.#blocks;
    return {
      sizeBytes,
      readOnly: has(TransmissionFlag.READ_ONLY),
      canFlush: has(TransmissionFlag.SEND_FLUSH),
      canFua: has(TransmissionFlag.SEND_FUA),
      canZero: has(TransmissionFlag.SEND_WRITE_ZEROES),
      minimumBlockBytes: minimum,
      preferredBlockBytes: preferred,
      payloadBytesMax: maximum,
      structured: this.#structured,
      allocationContext: this.#context,
    };
  }
}

/** The message that ends a negotiation without taking the export. */
export function abortMessage(): Buffer {
  return option(Option.ABORT, []);
}

function option(number: number, parts: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64BE(OPTION_MAGIC, 0);
  header.writeUInt32BE(number, 8);
  header.writeUInt32BE(
    parts.reduce((sum, p) => sum + p.length, 0),
    12,
  );
  return Buffer.concat([header, ...parts]);
}

function number32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
}

function length32(of: Buffer): Buffer {
  return number32(of.length);
}

function isError(type: number): boolean {
  return type >= 0x8000_0000;
}

function powerOfTwo(n: number): boolean {
  return n > 0 && Number.isInteger(Math.log2(n));
}

/** Compares what has arrived of 8 bytes, so that a server of another kind is seen at its first. */
function refuseOtherBytes(held: Buffer, magic: bigint, at: number): void {
  const expected = Buffer.alloc(8);
  expected.writeBigUInt64BE(magic);
  const there = held.subarray(at, at + 8);
  const same = there.equals(expected.subarray(0, there.length));
  if (!same) bad('this is no NBD server', at);
}

function bad(message: string, offset: number): never {
  throw new DecodeError('nbd-handshake', `NBD negotiation: ${message}`, offset);
}

function tooOld(): UserError {
  return new UserError('unsupported', 'nbd-old', {
    what: 'the NBD server is too old',
    why: 'it does not know the fixed newstyle negotiation',
    todo: 'use qemu-nbd, nbdkit, or nbd-server 3.16 or later',
  });
}

function tlsRequired(): UserError {
  return new UserError('unsupported', 'nbd-tls', {
    what: 'the NBD server demands TLS, which is not supported',
    todo: 'let the server listen without TLS on a Unix socket or inside a network that you trust',
  });
}

function refuseTls(type: number): void {
  if (type === OptionReply.ERR_TLS_REQD) throw tlsRequired();
}

function refusal(type: number, name: string, data: Buffer): UserError {
  if (type === OptionReply.ERR_TLS_REQD) return tlsRequired();
  if (type === OptionReply.ERR_UNSUP) return tooOld();
  const said = data.length === 0 ? '' : `it said: ${printable(data.toString('utf8'), 200)}`;
  const why = said === '' ? {} : { why: said };
  if (type === OptionReply.ERR_UNKNOWN) {
    const what = `the NBD server has no export "${name}"`;
    return new UserError('not-found', 'nbd-export', { what, ...why });
  }
  const what = `the NBD server does not give the export "${name}" (error ${type - 0x8000_0000})`;
  return new UserError('forbidden', 'nbd-refused', { what, ...why });
}
