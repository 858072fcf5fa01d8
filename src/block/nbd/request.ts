import type { BlockError } from '../device.ts';
import { Command, REQUEST_BYTES, encodeRequest } from './protocol.ts';
import type { Awaited } from './reply.ts';

/** How a request ends. */
export type RequestDone = (error: BlockError | null) => void;

/** One request to a server, from the call that made it until its answer; it may be sent again. */
export class NbdRequest implements Awaited {
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly at: number;
  /** What goes on the wire: the header, and the data of a write. */
  readonly frame: Buffer;
  /** When the call was made; a call lives for a bounded time. */
  readonly bornMs: number;
  readonly done: RequestDone;
  into: Uint8Array | null;
  covered: number[] = [];
  error = 0;
  errorText = '';
  extents: number[] | null = null;
  /** Its place in the table of what the server has; -1 = the server does not have it. */
  slot = -1;
  /** When it was sent last. */
  sentMs = 0;
  /** The caller has its answer. */
  answered = false;
  /** For a write that the server has taken: flushes sent before that. */
  takenInEpoch = -1;

  constructor(fields: {
    command: number;
    flags: number;
    offsetBytes: number;
    lengthBytes: number;
    bornMs: number;
    done: RequestDone;
    read?: { into: Uint8Array; at: number };
    /** Copied: it may have to be sent again long after the caller has its answer. */
    write?: { from: Uint8Array; at: number };
  }) {
    const { command, flags, offsetBytes, lengthBytes, write } = fields;
    this.command = command;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.bornMs = fields.bornMs;
    this.done = fields.done;
    this.into = fields.read?.into ?? null;
    this.at = fields.read?.at ?? 0;
    const frameBytes = REQUEST_BYTES + (write === undefined ? 0 : lengthBytes);
    this.frame = Buffer.allocUnsafeSlow(frameBytes);
    encodeRequest(this.frame, command, flags, offsetBytes, lengthBytes);
    if (write !== undefined) {
      this.frame.set(write.from.subarray(write.at, write.at + lengthBytes), REQUEST_BYTES);
    }
  }

  /** Changes what is on the disk. */
  get mutates(): boolean {
    return this.command === Command.WRITE || this.command === Command.WRITE_ZEROES;
  }

  /** Touches a byte that `other` touches. */
  overlaps(other: NbdRequest): boolean {
    const end = this.offsetBytes + this.lengthBytes;
    return this.offsetBytes < other.offsetBytes + other.lengthBytes && other.offsetBytes < end;
  }

  /** Forgets what arrived of a reply, before the request is sent once more. */
  rewind(): void {
    this.slot = -1;
    this.covered = [];
    this.error = 0;
    this.errorText = '';
    this.extents = null;
  }
}
