/**
 * Numbers of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md). 64-bit magics are kept as two
 * halves, because the hot path reads them so.
 */

/** "NBDMAGIC" and "IHAVEOPT". */
export const HELLO_MAGIC = 0x4e42_444d_4147_4943n;
export const OPTION_MAGIC = 0x4948_4156_454f_5054n;
export const OPTION_REPLY_MAGIC = 0x0003_e889_0455_65a9n;
/** What a server that knows only the old-style negotiation says second. */
export const OLD_STYLE_MAGIC = 0x0000_4202_8186_1253n;

export const REQUEST_MAGIC = 0x2560_9513;
export const SIMPLE_REPLY_MAGIC = 0x6744_6698;
export const STRUCTURED_REPLY_MAGIC = 0x668e_33ef;

export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;

/** Handshake flags, the same bits for both sides. */
export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const Option = {
  ABORT: 2,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  SET_META_CONTEXT: 10,
} as const;

export const OptionReply = {
  ACK: 1,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
} as const;

export const Info = { EXPORT: 0, BLOCK_SIZE: 3 } as const;

export const TransmissionFlag = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_WRITE_ZEROES: 64,
} as const;

/**
 * What we ask of a server. TRIM is missing on purpose: it promises nothing about what is read
 * afterwards, and `discard` promises zeros; WRITE_ZEROES without NO_HOLE gives space back too.
 */
export const Command = {
  READ: 0,
  WRITE: 1,
  DISCONNECT: 2,
  FLUSH: 3,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

export const CommandFlag = { FUA: 1, NO_HOLE: 2 } as const;

export const Chunk = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;
/** Set in the type of every chunk that is an error, known to us or not. */
export const CHUNK_IS_ERROR = 0x8000;
export const CHUNK_DONE = 1;

/** Errors of the wire; Linux' own numbers whatever the server runs on. */
export const WireError = { EPERM: 1, EIO: 5, ENOSPC: 28, ESHUTDOWN: 108 } as const;

/** What we ask the state of a range by, and its bits. */
export const ALLOCATION_CONTEXT = 'base:allocation';
export const AllocationState = { HOLE: 1, ZERO: 2 } as const;

/** Strings of the protocol are at most this long. */
export const STRING_BYTES_MAX = 4096;
/** What a server takes that does not say how much. */
export const DEFAULT_PAYLOAD_BYTES_MAX = 32 * 1024 * 1024;

const TWO_32 = 2 ** 32;

/** Puts the header of a request at the beginning of `frame`; the cookie is two halves. */
export function encodeRequest(
  frame: Buffer,
  command: number,
  flags: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  frame.writeUInt32BE(REQUEST_MAGIC, 0);
  frame.writeUInt16BE(flags, 4);
  frame.writeUInt16BE(command, 6);
  frame.writeUInt32BE(Math.floor(offsetBytes / TWO_32), 16);
  frame.writeUInt32BE(offsetBytes % TWO_32, 20);
  frame.writeUInt32BE(lengthBytes, 24);
}

/** Puts the cookie into a header made by `encodeRequest`. */
export function stampCookie(frame: Buffer, high: number, low: number): void {
  frame.writeUInt32BE(high, 8);
  frame.writeUInt32BE(low, 12);
}

/** A 64-bit number that must be a place on a disk we can address: below 2^53, else -1. */
export function uint64At(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at);
  return high < 2 ** 21 ? high * TWO_32 + bytes.readUInt32BE(at + 4) : -1;
}
