/**
 * The initiator's side of one session as a load generator: as few instructions per command as it
 * takes to keep any target busy (libiscsi's own tools saturate near 90k commands a second).
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { NO_BYTES, NO_DIGESTS, Opcode, Stage } from '#iscsi/pdu/mod.ts';
import { decodeLoginResponse, framePdu, parsePdu } from '#iscsi/pdu/mod.ts';
import { crc32c } from '#base/mod.ts';
import { decodeText } from '#iscsi/text.ts';
import { loginRequest, loginText } from './dial.ts';

export type Workload = {
  readonly operation: 'read' | 'write';
  readonly blockBytes: number;
  readonly queueDepth: number;
  readonly pattern: 'random' | 'sequential';
  readonly digests: boolean;
};

export type Endpoint = {
  readonly address: string;
  readonly port: number;
  readonly iqn: string;
  readonly lun: number;
};

const HEADER_BYTES = 48;
const DISK_BLOCK_BYTES = 512;
const OUT_BYTES = 4 * 1024 * 1024;
const IN_BYTES = 1024 * 1024;

class OutBuffer {
  readonly whole: Buffer = Buffer.allocUnsafeSlow(OUT_BYTES);
  readonly view = new DataView(this.whole.buffer);
}

/** One logged-in session that repeats its workload until it is told to stop. */
export class LoadSession {
  readonly #socket: Socket;
  readonly #work: Workload;
  readonly #spanBlocks: number;
  readonly #lunWord: number;
  #out = new OutBuffer();
  readonly #spare: OutBuffer[] = [];
  readonly #payload: Buffer;
  readonly #extra: number;
  #outAt = 0;
  #cmdSn = 1;
  #next = 0;
  #seed = 12345;
  #running = false;
  #inFlight = 0;
  #segmentBytes = 8192;
  #firstBurstBytes = 65536;
  #immediate = true;
  #idle: (() => void) | null = null;
  /** Received: a header that was cut, and bytes of data still to skip. */
  readonly #head = Buffer.alloc(HEADER_BYTES);
  readonly #headView = new DataView(this.#head.buffer, this.#head.byteOffset);
  #headAt = 0;
  #skip = 0;
  completed = 0;
  failures = 0;

  private constructor(
    socket: Socket,
    work: Workload,
    lun: number,
    spanBytes: number,
    seed: number,
  ) {
    this.#socket = socket;
    this.#work = work;
    this.#lunWord = lun << 16;
    this.#seed = seed;
    this.#spanBlocks = Math.floor(spanBytes / work.blockBytes);
    this.#next = seed % this.#spanBlocks;
    this.#payload = Buffer.alloc(work.blockBytes, 0x5a);
    this.#extra = work.digests ? 4 : 0;
  }

  static async open(
    to: Endpoint,
    work: Workload,
    spanBytes: number,
    index: number,
  ): Promise<LoadSession> {
    let session: LoadSession | null = null;
    const login: Buffer[] = [];
    let wake: () => void = () => {};
    const buffer = Buffer.allocUnsafeSlow(IN_BYTES);
    const view = new DataView(buffer.buffer);
    const socket = connect({
      host: to.address,
      port: to.port,
      noDelay: true,
      onread: {
        buffer,
        callback: (bytes) => {
          if (session !== null) session.#received(buffer, view, bytes);
          else {
            login.push(Buffer.from(buffer.subarray(0, bytes)));
            wake();
          }
          return true;
        },
      },
    });
    await once(socket, 'connect');
    const answer = async (): Promise<Buffer> => {
      for (;;) {
        const all = Buffer.concat(login);
        const dataBytes = all.length >= HEADER_BYTES ? all.readUInt32BE(4) & 0xffffff : 0;
        if (all.length >= HEADER_BYTES + dataBytes + (-dataBytes & 3)) {
          login.length = 0;
          return all;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    const made = new LoadSession(socket, work, to.lun, spanBytes, 7919 * (index + 1));
    // A target that has something to add answers without the T bit: then an empty request follows.
    for (let text = loginText(to.iqn, work.digests); ; text = NO_BYTES) {
      socket.write(framePdu(loginRequest(text, index), NO_DIGESTS));
      if (made.#loggedIn(await answer())) break;
    }
    session = made;
    return made;
  }

  /** Takes a login response; true when it is the last. */
  #loggedIn(bytes: Buffer): boolean {
    const response = decodeLoginResponse(parsePdu(bytes, NO_DIGESTS));
    if (response.status !== 0) throw new Error(`login refused: 0x${response.status.toString(16)}`);
    for (const [key, value] of decodeText(response.data)) {
      if (key === 'MaxRecvDataSegmentLength') this.#segmentBytes = Number(value);
      if (key === 'FirstBurstLength') this.#firstBurstBytes = Number(value);
      if (key === 'ImmediateData') this.#immediate = value === 'Yes';
    }
    return response.transit && response.nextStage === Stage.FULL_FEATURE;
  }

  start(): void {
    this.#running = true;
    for (let tag = 0; tag < this.#work.queueDepth; tag++) this.#issue(tag);
    this.#flush();
  }

  /** Lets what is in flight finish. */
  async stop(): Promise<void> {
    this.#running = false;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    this.#socket.destroy();
  }

  #issue(tag: number): void {
    const { operation, blockBytes } = this.#work;
    const read = operation === 'read';
    const now = read ? 0 : this.#immediateBytes();
    if (this.#outAt + HEADER_BYTES + now + 8 > OUT_BYTES) this.#flush();
    const { view } = this.#out;
    const at = this.#outAt;
    const block = this.#place();
    this.#inFlight += 1;
    view.setUint32(at, ((Opcode.SCSI_COMMAND << 24) | ((read ? 0xc1 : 0xa1) << 16)) >>> 0);
    view.setUint32(at + 4, now);
    view.setUint32(at + 8, this.#lunWord);
    view.setUint32(at + 12, 0);
    view.setUint32(at + 16, tag);
    view.setUint32(at + 20, blockBytes);
    view.setUint32(at + 24, this.#cmdSn);
    view.setUint32(at + 28, 0);
    this.#cmdSn = (this.#cmdSn + 1) >>> 0;
    const count = blockBytes / DISK_BLOCK_BYTES;
    view.setUint32(at + 32, ((read ? 0x28 : 0x2a) << 24) >>> 0);
    const lba = block * count;
    view.setUint8(at + 34, lba >>> 24);
    view.setUint8(at + 35, lba >>> 16);
    view.setUint16(at + 36, lba & 0xffff);
    view.setUint8(at + 38, 0);
    view.setUint16(at + 39, count);
    view.setUint8(at + 41, 0);
    view.setUint32(at + 42, 0);
    view.setUint16(at + 46, 0);
    this.#seal(at, 0, now);
  }

  /** Digests, payload, and on to the next PDU. */
  #seal(at: number, from: number, dataBytes: number): void {
    const { whole, view } = this.#out;
    let end = at + HEADER_BYTES;
    if (this.#work.digests) {
      view.setUint32(end, crc32c(whole, at, HEADER_BYTES), true);
      end += 4;
    }
    if (dataBytes > 0) {
      this.#payload.copy(whole, end, from, from + dataBytes);
      end += dataBytes;
      if (this.#work.digests) {
        view.setUint32(end, crc32c(whole, end - dataBytes, dataBytes), true);
        end += 4;
      }
    }
    this.#outAt = end;
  }

  #immediateBytes(): number {
    if (!this.#immediate) return 0;
    return Math.min(this.#work.blockBytes, this.#segmentBytes, this.#firstBurstBytes);
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

  #flush(): void {
    if (this.#outAt === 0) return;
    const { whole } = this.#out;
    this.#socket.write(whole.subarray(0, this.#outAt));
    this.#outAt = 0;
    if (this.#socket.writableLength === 0) return;
    // What the kernel did not take at once must not be overwritten.
    const full = this.#out;
    this.#out = this.#spare.pop() ?? new OutBuffer();
    this.#socket.write(NO_BYTES, () => this.#spare.push(full));
  }

  #received(bytes: Buffer, view: DataView, end: number): void {
    let at = 0;
    while (at < end) {
      if (this.#skip > 0) {
        const take = Math.min(this.#skip, end - at);
        this.#skip -= take;
        at += take;
      } else if (this.#headAt === 0 && end - at >= HEADER_BYTES) {
        this.#pdu(view, at);
        at += HEADER_BYTES;
      } else {
        const take = Math.min(HEADER_BYTES - this.#headAt, end - at);
        bytes.copy(this.#head, this.#headAt, at, at + take);
        this.#headAt += take;
        at += take;
        if (this.#headAt === HEADER_BYTES) {
          this.#headAt = 0;
          this.#pdu(this.#headView, 0);
        }
      }
    }
    this.#flush();
  }

  #pdu(view: DataView, at: number): void {
    const dataBytes = view.getUint32(at + 4) & 0xffffff;
    const padded = (dataBytes + 3) & ~3;
    this.#skip = padded + this.#extra + (padded > 0 ? this.#extra : 0);
    const opcode = view.getUint8(at) & 0x3f;
    const tag = view.getUint32(at + 16);
    if (opcode === Opcode.DATA_IN) {
      if ((view.getUint8(at + 1) & 1) !== 0) this.#done(tag, view.getUint8(at + 3));
    } else if (opcode === Opcode.SCSI_RESPONSE) {
      this.#done(tag, view.getUint8(at + 3));
    } else if (opcode === Opcode.R2T) {
      this.#dataOut(view, at, tag);
    } else if (opcode === Opcode.NOP_IN) {
      // Pings do not come within the seconds of a run.
    } else {
      this.failures += 1;
    }
  }

  #done(tag: number, status: number): void {
    this.completed += 1;
    this.#inFlight -= 1;
    if (status !== 0) this.failures += 1;
    if (this.#running) this.#issue(tag);
    else if (this.#inFlight === 0) this.#idle?.();
  }

  #dataOut(request: DataView, requestAt: number, tag: number): void {
    const transfer = request.getUint32(requestAt + 20);
    const offset = request.getUint32(requestAt + 40);
    const total = request.getUint32(requestAt + 44);
    for (let done = 0, sn = 0; done < total; sn++) {
      const length = Math.min(this.#segmentBytes, total - done);
      if (this.#outAt + HEADER_BYTES + length + 8 > OUT_BYTES) this.#flush();
      const at = this.#outAt;
      const final = done + length === total ? 0x80 : 0;
      const { view } = this.#out;
      view.setUint32(at, (Opcode.DATA_OUT << 24) | (final << 16));
      view.setUint32(at + 4, length);
      view.setUint32(at + 8, this.#lunWord);
      view.setUint32(at + 12, 0);
      view.setUint32(at + 16, tag);
      view.setUint32(at + 20, transfer);
      view.setUint32(at + 24, 0);
      view.setUint32(at + 28, 0);
      view.setUint32(at + 32, 0);
      view.setUint32(at + 36, sn);
      view.setUint32(at + 40, offset + done);
      view.setUint32(at + 44, 0);
      this.#seal(at, offset + done, length);
      done += length;
    }
  }
}
