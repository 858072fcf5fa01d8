/**
 * A TFTP client for load and for tests: any block size and window, many transfers at once from one
 * process. It can check what it gets
 * by a running sum, without holding the file.
 */
import { crc32c } from '#base/mod.ts';
import { UdpSocket, type Peer } from '#net/mod.ts';
import { Receiver } from './tftp-receiver.ts';

/** What to fetch, and how. */
export type Fetch = {
  readonly server: Peer;
  readonly name: string;
  readonly blockBytes?: number;
  readonly windowBlocks?: number;
  readonly mode?: string;
  /** Sum up what comes; costs about a microsecond per packet. Default true. */
  readonly check?: boolean;
  /** Silence after which the client repeats itself; default 1 s. */
  readonly timeoutMs?: number;
  /** Tells of silence before it gives up; default 10. */
  readonly tries?: number;
};

/** What came. */
export type Fetched = {
  readonly bytes: number;
  /** 0 without `check`. */
  readonly crc32c: number;
  readonly durationMs: number;
  readonly repeats: number;
};

const OPCODE_DATA = 3;
const OPCODE_ERROR = 5;
const OPCODE_OACK = 6;

function requestPacket(fetch: Fetch): Buffer {
  const fields = [fetch.name, fetch.mode ?? 'octet'];
  if (fetch.blockBytes !== undefined) fields.push('blksize', String(fetch.blockBytes));
  if (fetch.windowBlocks !== undefined) fields.push('windowsize', String(fetch.windowBlocks));
  const text = fields.map((f) => `${f}\0`).join('');
  return Buffer.concat([Buffer.from([0, 1]), Buffer.from(text, 'latin1')]);
}

/** The value of an option in an OACK, or undefined. */
function oackValue(bytes: Buffer, name: string): number | undefined {
  const fields = bytes.toString('latin1', 2).split('\0');
  const at = fields.findIndex((f, n) => n % 2 === 0 && f.toLowerCase() === name);
  return at < 0 ? undefined : Number(fields[at + 1]);
}

/** Fetches a file; rejects with the server's ERROR text or when it is silent for too long. */
export function fetchFile(fetch: Fetch): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    new Fetching(fetch, resolve, reject).request();
  });
}

class Fetching {
  readonly #fetch: Fetch;
  readonly #resolve: (got: Fetched) => void;
  readonly #reject: (e: Error) => void;
  readonly #socket: UdpSocket;
  readonly #ackBytes = Buffer.from([0, 4, 0, 0]);
  readonly #startedAtMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #receiver: Receiver | undefined;
  #target: ReturnType<UdpSocket['target']> | undefined;
  #serverPort = 0;
  #bytes = 0;
  #crc = 0;
  #silent = 0;
  #heard = false;
  #repeats = 0;

  constructor(fetch: Fetch, resolve: (got: Fetched) => void, reject: (e: Error) => void) {
    this.#fetch = fetch;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#socket = UdpSocket.open(
      {
        family: fetch.server.address.includes(':') ? 6 : 4,
        port: 0,
        receiveBufferBytes: 1 << 20,
      },
      {
        onMessage: (bytes, from) => {
          this.#message(bytes, from);
        },
      },
    );
    // One interval instead of a timer per packet.
    this.#timer = setInterval(() => {
      this.#tick();
    }, fetch.timeoutMs ?? 1000);
  }

  request(): void {
    const { address, port } = this.#fetch.server;
    this.#socket.send(requestPacket(this.#fetch), port, address);
  }

  #message(bytes: Buffer, from: Peer): void {
    const opcode = bytes[1];
    if (opcode === OPCODE_ERROR) {
      const text = bytes.toString('latin1', 4).split('\0')[0] ?? '';
      this.#end(() => {
        this.#reject(new Error(`ERROR ${bytes.readUInt16BE(2)}: ${text}`));
      });
      return;
    }
    if (this.#target === undefined) {
      this.#serverPort = from.port;
      this.#target = this.#socket.target(from);
    }
    if (from.port !== this.#serverPort) return;
    this.#heard = true;
    if (opcode === OPCODE_OACK) this.#agree(bytes);
    else if (opcode === OPCODE_DATA) this.#data(bytes);
  }

  #agree(bytes: Buffer): void {
    const block = oackValue(bytes, 'blksize') ?? 512;
    this.#receiver ??= new Receiver(block, oackValue(bytes, 'windowsize') ?? 1);
    if (this.#receiver.haveBlocks === 0) this.#ack(0);
  }

  #data(bytes: Buffer): void {
    this.#receiver ??= new Receiver(512, 1);
    const { accepted, ack } = this.#receiver.data(bytes.readUInt16BE(2), bytes.length - 4);
    if (accepted) {
      this.#bytes += bytes.length - 4;
      if (this.#fetch.check !== false) this.#crc = crc32c(bytes, 4, bytes.length - 4, this.#crc);
    }
    if (ack !== undefined) this.#ack(ack);
    if (this.#receiver.done) this.#finish();
  }

  #ack(block: number): void {
    this.#ackBytes.writeUInt16BE(block, 2);
    this.#target?.send(this.#ackBytes, 0, 4);
  }

  #tick(): void {
    this.#silent = this.#heard ? 0 : this.#silent + 1;
    if (this.#heard) {
      this.#heard = false;
      return;
    }
    if (this.#silent >= (this.#fetch.tries ?? 10)) {
      this.#end(() => {
        this.#reject(new Error(`no answer after ${this.#bytes} bytes`));
      });
      return;
    }
    this.#repeats += 1;
    if (this.#receiver === undefined) this.request();
    else this.#ack(this.#receiver.ack());
  }

  #finish(): void {
    const durationMs = performance.now() - this.#startedAtMs;
    this.#end(() => {
      const { bytes, repeats } = { bytes: this.#bytes, repeats: this.#repeats };
      this.#resolve({ bytes, crc32c: this.#crc, durationMs, repeats });
    });
  }

  #end(tell: () => void): void {
    clearInterval(this.#timer);
    void this.#socket.close().then(tell);
  }
}
