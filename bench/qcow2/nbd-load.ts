/**
 * A process that loads an NBD server and reports what it measured as one JSON line: the peer of
 * bench/iscsi/load.ts for targets that speak NBD.
 *
 *   node bench/qcow2/nbd-load.ts '{"socket":PATH,"name":"","workload":…,"spanBytes":…,"seconds":2}'
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { LoadResult, Workload } from '../iscsi/load-job.ts';

export type NbdJob = {
  readonly socket: string;
  readonly name: string;
  readonly workload: Workload;
  readonly spanBytes: number;
  readonly seconds: number;
};

const WARM_UP_MS = 300;
const REQUEST_BYTES = 28;
const REPLY_BYTES = 16;
const IN_BYTES = 1024 * 1024;

/** One connection that repeats its workload until it is told to stop. */
class NbdSession {
  completed = 0;
  failures = 0;
  readonly #socket: Socket;
  readonly #work: Workload;
  readonly #spanBlocks: number;
  readonly #out: Buffer[] = [];
  readonly #payload: Buffer;
  #seed = 12345;
  #next = 0;
  #running = true;
  #inFlight = 0;
  #head = Buffer.alloc(REPLY_BYTES);
  #headAt = 0;
  #skip = 0;
  #idle: (() => void) | null = null;

  constructor(socket: Socket, work: Workload, spanBytes: number) {
    this.#socket = socket;
    this.#work = work;
    this.#spanBlocks = Math.floor(spanBytes / work.blockBytes);
    this.#payload = Buffer.alloc(work.blockBytes, 0x5a);
  }

  start(): void {
    for (let n = 0; n < this.#work.queueDepth; n++) this.#issue();
    this.#flush();
  }

  async stop(): Promise<void> {
    this.#running = false;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    this.#socket.destroy();
  }

  received(bytes: Buffer, end: number): void {
    let at = 0;
    while (at < end) {
      if (this.#skip > 0) {
        const take = Math.min(this.#skip, end - at);
        this.#skip -= take;
        at += take;
        if (this.#skip === 0) this.#done();
        continue;
      }
      const take = Math.min(REPLY_BYTES - this.#headAt, end - at);
      bytes.copy(this.#head, this.#headAt, at, at + take);
      this.#headAt += take;
      at += take;
      if (this.#headAt < REPLY_BYTES) continue;
      this.#headAt = 0;
      if (this.#head.readUInt32BE(4) !== 0) this.failures += 1;
      this.#skip = this.#work.operation === 'read' ? this.#work.blockBytes : 0;
      if (this.#skip === 0) this.#done();
    }
    this.#flush();
  }

  #done(): void {
    this.completed += 1;
    this.#inFlight -= 1;
    if (this.#running) this.#issue();
    else if (this.#inFlight === 0) this.#idle?.();
  }

  #issue(): void {
    const request = Buffer.allocUnsafe(REQUEST_BYTES);
    const write = this.#work.operation === 'write';
    request.writeUInt32BE(0x25609513, 0);
    request.writeUInt32BE(write ? 1 : 0, 4);
    request.writeDoubleBE(this.#inFlight, 8); // any cookie
    request.writeBigUInt64BE(BigInt(this.#place()) * BigInt(this.#work.blockBytes), 16);
    request.writeUInt32BE(this.#work.blockBytes, 24);
    this.#out.push(request);
    if (write) this.#out.push(this.#payload);
    this.#inFlight += 1;
  }

  #flush(): void {
    if (this.#out.length > 0) this.#socket.write(Buffer.concat(this.#out.splice(0)));
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
}

/** Fixed newstyle negotiation with NBD_OPT_EXPORT_NAME, no zeroes: the shortest there is. */
async function open(job: NbdJob): Promise<NbdSession> {
  let session: NbdSession | null = null;
  let login = Buffer.alloc(0);
  let wake: () => void = () => {};
  const buffer = Buffer.allocUnsafeSlow(IN_BYTES);
  const socket = connect({
    path: job.socket,
    onread: {
      buffer,
      callback: (bytes) => {
        if (session !== null) session.received(buffer, bytes);
        else {
          login = Buffer.concat([login, buffer.subarray(0, bytes)]);
          wake();
        }
        return true;
      },
    },
  });
  await once(socket, 'connect');
  const take = async (length: number): Promise<Buffer> => {
    while (login.length < length) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const taken = login.subarray(0, length);
    login = login.subarray(length);
    return taken;
  };
  await take(18);
  const name = Buffer.from(job.name);
  const option = Buffer.alloc(20);
  option.writeUInt32BE(3, 0); // fixed newstyle, no zeroes
  option.write('IHAVEOPT', 4, 'latin1');
  option.writeUInt32BE(1, 12);
  option.writeUInt32BE(name.length, 16);
  socket.write(Buffer.concat([option, name]));
  await take(10);
  session = new NbdSession(socket, job.workload, job.spanBytes);
  return session;
}

const job = JSON.parse(process.argv[2] ?? '{}') as NbdJob;
const session = await open(job);
session.start();
await wait(WARM_UP_MS);
const from = session.completed;
const startMs = performance.now();
await wait(job.seconds * 1000);
const operations = session.completed - from;
const seconds = (performance.now() - startMs) / 1000;
await session.stop();
const { completed: total, failures } = session;
const result: LoadResult = { operations, total, seconds, failures };
process.stdout.write(`${JSON.stringify(result)}\n`);
