/**
 * One session as a load: as few instructions and system calls per command as it takes to keep any
 * target busy, and no copy of what is written (libiscsi's own tools saturate near 90k commands a
 * second). It looks for answers when it is told to (`poll`), by recv(2) of its own.
 */
import { crc32c } from '#base/mod.ts';
import { Opcode } from '#iscsi/pdu/mod.ts';
import { GatherSend, addressOfBytes } from '#os/mod.ts';
import { bindCall, lastErrno } from '#os/libc.ts';
import { dial } from './dial.ts';
import type { Line } from './dial.ts';
import type { LoadJob, Workload } from './load-job.ts';
import { SendQueue } from './send-queue.ts';

const HEADER_BYTES = 48;
const DIGEST_BYTES = 4;
const DISK_BLOCK_BYTES = 512;
const IN_BYTES = 1024 * 1024;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;

const recv = bindCall('intptr_t recv(int fd, uintptr_t into, size_t length, int flags)');

/** Received bytes and payload, shared by the sessions of one process. */
class Memory {
  readonly in: Buffer = Buffer.allocUnsafeSlow(IN_BYTES);
  readonly view = new DataView(this.in.buffer);
  readonly inAddress: number = addressOfBytes(this.in);
  readonly payload: Buffer;
  readonly payloadAddress: number;
  readonly #digests = new Map<number, number>();

  constructor(blockBytes: number) {
    this.payload = Buffer.allocUnsafeSlow(blockBytes).fill(0x5a);
    this.payloadAddress = addressOfBytes(this.payload);
  }

  /** CRC32C of so much payload, which is the same anywhere in it. */
  digest(lengthBytes: number): number {
    let digest = this.#digests.get(lengthBytes);
    if (digest === undefined) {
      digest = crc32c(this.payload, 0, lengthBytes);
      this.#digests.set(lengthBytes, digest);
    }
    return digest;
  }
}

export class LoadSession {
  readonly line: Line;
  readonly #work: Workload;
  readonly #memory: Memory;
  readonly #out: SendQueue;
  readonly #lunWord: number;
  readonly #spanBlocks: number;
  readonly #extra: number;
  /** Headers of a tag: its command, then its Data-Outs; each with room for two digests. */
  readonly #headers: Buffer;
  readonly #headerView: DataView;
  readonly #headersAddress: number;
  readonly #slots: number;
  readonly #used: Uint16Array;
  readonly #cut = Buffer.alloc(HEADER_BYTES);
  readonly #cutView = new DataView(this.#cut.buffer, this.#cut.byteOffset);
  #cutBytes = 0;
  #skip = 0;
  #cmdSn = 1;
  #expStatSn = 0;
  #next: number;
  #seed: number;
  /** Commands still to be issued. */
  #left = 0;
  inFlight = 0;
  completed = 0;
  failures = 0;

  constructor(
    line: Line,
    work: Workload,
    parts: { lun: number; spanBytes: number; index: number; memory: Memory; message: GatherSend },
  ) {
    this.line = line;
    this.#work = work;
    this.#memory = parts.memory;
    this.#out = new SendQueue(line.fd, parts.message);
    this.#lunWord = parts.lun << 16;
    this.#spanBlocks = Math.floor(parts.spanBytes / work.blockBytes);
    this.#seed = 7919 * (parts.index + 1);
    this.#next = this.#seed % this.#spanBlocks;
    this.#extra = work.digests ? DIGEST_BYTES : 0;
    this.#slots = 2 + Math.ceil(work.blockBytes / Math.min(line.segmentBytes, 8192));
    this.#headers = Buffer.allocUnsafeSlow(work.queueDepth * this.#slots * SLOT_BYTES);
    this.#headerView = new DataView(this.#headers.buffer);
    this.#headersAddress = addressOfBytes(this.#headers);
    this.#used = new Uint16Array(work.queueDepth);
  }

  /** Nothing waits for room in the socket. */
  get sentAll(): boolean {
    return this.#out.empty;
  }

  /** Begins; with `commands` it comes to its end by itself, else by `stop`. */
  start(commands: number = Number.POSITIVE_INFINITY): void {
    this.#left = commands;
    for (let tag = 0; tag < this.#work.queueDepth; tag++) this.#issue(tag);
    this.#out.flush();
  }

  /** What is in flight comes to its end by `poll`. */
  stop(): void {
    this.#left = 0;
  }

  /** Takes what has come, once, and sends what follows from it. False: nothing had come. */
  poll(): boolean {
    const { inAddress, in: bytes, view } = this.#memory;
    const got = recv()(this.line.fd, inAddress, IN_BYTES, MSG_DONTWAIT);
    if (got > 0) {
      this.#received(bytes, view, got);
      this.#out.flush();
      return true;
    }
    if (got === 0) throw new Error('the target closed the connection');
    const errno = lastErrno();
    if (errno !== EAGAIN) throw new Error(`recv: errno ${errno}`);
    if (!this.#out.empty) this.#out.flush();
    return false;
  }

  #issue(tag: number): void {
    if (this.#left === 0) return;
    this.#left -= 1;
    const { operation, blockBytes } = this.#work;
    const read = operation === 'read';
    const now = read || !this.line.immediate ? 0 : this.#immediateBytes();
    this.#used[tag] = 0;
    const at = this.#slot(tag);
    const view = this.#headerView;
    this.inFlight += 1;
    view.setUint32(at, ((Opcode.SCSI_COMMAND << 24) | ((read ? 0xc1 : 0xa1) << 16)) >>> 0);
    view.setUint32(at + 4, now);
    view.setUint32(at + 8, this.#lunWord);
    view.setUint32(at + 12, 0);
    view.setUint32(at + 16, tag);
    view.setUint32(at + 20, blockBytes);
    view.setUint32(at + 24, this.#cmdSn);
    view.setUint32(at + 28, this.#expStatSn);
    this.#cmdSn = (this.#cmdSn + 1) >>> 0;
    const count = blockBytes / DISK_BLOCK_BYTES;
    const lba = this.#place() * count;
    view.setUint16(at + 32, (read ? 0x28 : 0x2a) << 8);
    view.setUint32(at + 34, lba);
    view.setUint8(at + 38, 0);
    view.setUint16(at + 39, count);
    view.setUint8(at + 41, 0);
    view.setUint32(at + 42, 0);
    view.setUint16(at + 46, 0);
    this.#send(at, 0, now);
  }

  /** The next place for a header of a tag. */
  #slot(tag: number): number {
    const n = this.#used[tag]!;
    if (n >= this.#slots) throw new Error('more R2Ts than a command can have');
    this.#used[tag] = n + 1;
    return (tag * this.#slots + n) * SLOT_BYTES;
  }

  #send(at: number, from: number, dataBytes: number): void {
    const view = this.#headerView;
    const address = this.#headersAddress + at;
    if (this.#extra === 0) {
      this.#out.add(address, HEADER_BYTES);
    } else {
      view.setUint32(at + HEADER_BYTES, crc32c(this.#headers, at, HEADER_BYTES), true);
      this.#out.add(address, HEADER_BYTES + DIGEST_BYTES);
    }
    if (dataBytes === 0) return;
    this.#out.add(this.#memory.payloadAddress + from, dataBytes);
    if (this.#extra === 0) return;
    view.setUint32(at + DATA_DIGEST_AT, this.#memory.digest(dataBytes), true);
    this.#out.add(address + DATA_DIGEST_AT, DIGEST_BYTES);
  }

  #immediateBytes(): number {
    const { segmentBytes, firstBurstBytes } = this.line;
    return Math.min(this.#work.blockBytes, segmentBytes, firstBurstBytes);
  }

  #place(): number {
    if (this.#work.pattern === 'sequential') {
      this.#next = (this.#next + 1) % this.#spanBlocks;
      return this.#next;
    }
    let x = this.#seed;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#seed = x;
    return (x >>> 0) % this.#spanBlocks;
  }

  #received(bytes: Buffer, view: DataView, end: number): void {
    let at = 0;
    while (at < end) {
      if (this.#skip > 0) {
        const take = Math.min(this.#skip, end - at);
        this.#skip -= take;
        at += take;
      } else if (this.#cutBytes === 0 && end - at >= HEADER_BYTES) {
        this.#pdu(view, at);
        at += HEADER_BYTES;
      } else {
        const take = Math.min(HEADER_BYTES - this.#cutBytes, end - at);
        bytes.copy(this.#cut, this.#cutBytes, at, at + take);
        this.#cutBytes += take;
        at += take;
        if (this.#cutBytes === HEADER_BYTES) {
          this.#cutBytes = 0;
          this.#pdu(this.#cutView, 0);
        }
      }
    }
  }

  #pdu(view: DataView, at: number): void {
    const dataBytes = view.getUint32(at + 4) & 0xffffff;
    const padded = (dataBytes + 3) & ~3;
    this.#skip = padded + this.#extra + (padded > 0 ? this.#extra : 0);
    const opcode = view.getUint8(at) & 0x3f;
    const tag = view.getUint32(at + 16);
    if (opcode === Opcode.DATA_IN) {
      if ((view.getUint8(at + 1) & 1) !== 0) this.#done(tag, view, at);
    } else if (opcode === Opcode.SCSI_RESPONSE) {
      this.#done(tag, view, at);
    } else if (opcode === Opcode.R2T) {
      this.#dataOut(view, at, tag);
    } else if (opcode !== Opcode.NOP_IN) {
      this.failures += 1;
    }
  }

  #done(tag: number, view: DataView, at: number): void {
    this.completed += 1;
    this.inFlight -= 1;
    if (view.getUint8(at + 3) !== 0) this.failures += 1;
    this.#expStatSn = (view.getUint32(at + 24) + 1) >>> 0;
    this.#issue(tag);
  }

  #dataOut(request: DataView, requestAt: number, tag: number): void {
    const transfer = request.getUint32(requestAt + 20);
    const offset = request.getUint32(requestAt + 40);
    const total = request.getUint32(requestAt + 44);
    for (let done = 0, sn = 0; done < total; sn++) {
      const length = Math.min(this.line.segmentBytes, total - done);
      const at = this.#slot(tag);
      const final = done + length === total ? 0x80 : 0;
      const view = this.#headerView;
      view.setUint32(at, (Opcode.DATA_OUT << 24) | (final << 16));
      view.setUint32(at + 4, length);
      view.setUint32(at + 8, this.#lunWord);
      view.setUint32(at + 12, 0);
      view.setUint32(at + 16, tag);
      view.setUint32(at + 20, transfer);
      view.setUint32(at + 24, 0);
      view.setUint32(at + 28, this.#expStatSn);
      view.setUint32(at + 32, 0);
      view.setUint32(at + 36, sn);
      view.setUint32(at + 40, offset + done);
      view.setUint32(at + 44, 0);
      this.#send(at, offset + done, length);
      done += length;
    }
  }
}

/** A header and its digest, and the digest of the data behind it. */
const SLOT_BYTES = HEADER_BYTES + 2 * DIGEST_BYTES;
const DATA_DIGEST_AT = HEADER_BYTES + DIGEST_BYTES;

/** Logs in all sessions of a job. */
export async function openSessions(job: Omit<LoadJob, 'seconds'>): Promise<LoadSession[]> {
  const { endpoint, workload, spanBytes } = job;
  const shared = { memory: new Memory(workload.blockBytes), message: new GatherSend() };
  const sessions: LoadSession[] = [];
  for (let index = 0; index < job.sessions; index++) {
    const line = await dial(endpoint, job.plain === true ? null : workload.digests, index);
    sessions.push(
      new LoadSession(line, workload, { lun: endpoint.lun, spanBytes, index, ...shared }),
    );
  }
  return sessions;
}
