/**
 * What the generator, loopback TCP and Node's sockets bear without any target: a server that has no
 * disk and decides nothing. It answers every command from hot memory, and drops what is written.
 *
 *   node bench/iscsi/ceiling.ts [--rounds 3] [--seconds 1] [--rows REGEX]
 *
 * Prints operations per second for the rows of `bench/iscsi.ts`: no target of one thread can have
 * more.
 */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/mod.ts';
import { ChunkPool } from '#iscsi/data-plane.ts';
import type { Chunk } from '#iscsi/data-plane.ts';
import { CHUNK_BYTES, RECEIVE_BUFFER_BYTES, SEND_SEGMENT_BYTES_MAX } from '#iscsi/limits.ts';
import { FINAL_BIT, Opcode } from '#iscsi/pdu/mod.ts';
import { Receiver } from '#iscsi/receiver.ts';
import type { PduSink } from '#iscsi/receiver.ts';
import { SocketTransport } from '#iscsi/socket-transport.ts';
import { Running } from '../../test/lab/process.ts';
import { load } from './measure.ts';
import { ROWS } from './rows.ts';

const HEADER_BYTES = 48;
const SEGMENT_BYTES_MAX = 1024 * 1024;
/** Bits of the first header word. */
const READ_BIT = 0x400000;
const STATUS_BIT = 1;

const { values } = parseArgs({
  options: {
    serve: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1' },
    rows: { type: 'string', default: '' },
  },
});

/** Answers commands: reads with bytes of no meaning, writes with GOOD when their data is over. */
class Answers implements PduSink {
  readonly #transport: SocketTransport;
  readonly #chunks: ChunkPool;
  readonly receiver = new Receiver(this, SEGMENT_BYTES_MAX);
  #chunk: Chunk | null = null;
  #used = 0;
  #tag = 0;
  #readBytes = 0;

  constructor(transport: SocketTransport, chunks: ChunkPool) {
    this.#transport = transport;
    this.#chunks = chunks;
  }

  header(view: DataView, _bytes: Uint8Array, at: number): void {
    this.#tag = view.getUint32(at + 16);
    this.#readBytes = (view.getUint32(at) & READ_BIT) === 0 ? 0 : view.getUint32(at + 20);
  }

  data(): void {}

  fault(): void {}

  end(): void {
    if (this.#readBytes === 0) this.#put(Opcode.SCSI_RESPONSE, FINAL_BIT, 0);
    for (let left = this.#readBytes; left > 0;) {
      const length = Math.min(left, SEND_SEGMENT_BYTES_MAX);
      left -= length;
      this.#put(Opcode.DATA_IN, left === 0 ? FINAL_BIT | STATUS_BIT : 0, length);
    }
  }

  #put(opcode: number, flags: number, dataBytes: number): void {
    if (this.#used + HEADER_BYTES + dataBytes > CHUNK_BYTES) this.flush();
    this.#chunk ??= this.#chunks.take();
    const { view } = this.#chunk;
    const at = this.#used;
    view.setUint32(at, ((opcode << 24) | (flags << 16)) >>> 0);
    view.setUint32(at + 4, dataBytes);
    view.setUint32(at + 16, this.#tag);
    this.#used += HEADER_BYTES + dataBytes;
  }

  flush(): void {
    const chunk = this.#chunk;
    if (chunk === null) return;
    this.#chunk = null;
    const used = this.#used;
    this.#used = 0;
    if (this.#transport.send(chunk, used)) this.#chunks.give(chunk);
  }

  give(chunk: Chunk): void {
    this.#chunks.give(chunk);
  }
}

function serve(): void {
  const buffer = Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES);
  const chunks = new ChunkPool();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    const transport = new SocketTransport(socket, buffer, systemClock);
    const answers = new Answers(transport, chunks);
    const events = {
      received: (bytes: Buffer, view: DataView, at: number, end: number): void => {
        answers.receiver.receive(bytes, view, at, end);
        answers.flush();
      },
      sent: (chunk: Chunk): void => {
        answers.give(chunk);
      },
      lost: (): void => {
        transport.abort();
      },
    };
    transport.start(events, () => {});
  });
  server.listen(0, '127.0.0.1', () => {
    process.stdout.write(`port ${(server.address() as AddressInfo).port}\n`);
  });
  process.once('SIGTERM', () => {
    process.exitCode = 0;
    server.close();
  });
}

async function main(): Promise<void> {
  const script = new URL(import.meta.url).pathname;
  const child = new Running(process.execPath, [script, '--serve']);
  try {
    const [, port = ''] = await child.waitFor(/port (\d+)\n/);
    const endpoint = { address: '127.0.0.1', port: Number(port), iqn: '', lun: 0 };
    const wanted = new RegExp(values.rows);
    for (const row of ROWS) {
      if (!wanted.test(row.name) || row.workload.digests) continue;
      const rates: number[] = [];
      for (let round = 0; round < Number(values.rounds); round++) {
        const { perSecond } = await load(endpoint, row, Number(values.seconds), true);
        rates.push(perSecond);
      }
      const median = rates.sort((a, b) => a - b)[Math.floor(rates.length / 2)] ?? 0;
      process.stdout.write(`${row.name.padEnd(34)} ${Math.round(median)}/s\n`);
    }
  } finally {
    await child.stop();
  }
}

if (values.serve) serve();
else await main();
