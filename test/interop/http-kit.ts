import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { HttpServer, LIMITS } from '#http/mod.ts';
import type { BootRequest, HttpAnswer, HttpTransfer } from '#http/mod.ts';

/** A GET request with these header lines. */
export const GET = (path: string, ...lines: string[]): string =>
  `GET ${path} HTTP/1.1\r\nHost: h\r\n${lines.map((l) => `${l}\r\n`).join('')}\r\n`;

type Resolve = (request: BootRequest) => HttpAnswer | Promise<HttpAnswer>;
type Seen = { event: string; transfer: HttpTransfer; sentBytes: number; why: string };

/** A server on loopback with a folder of files, and what its observer was told. */
export class Bench {
  readonly server: HttpServer;
  readonly clock: FakeClock;
  readonly folder: string;
  readonly seen: Seen[] = [];
  readonly #started: string[] = [];
  readonly #waiting: (() => void)[] = [];

  private constructor(folder: string, resolve: Resolve | undefined) {
    this.folder = folder;
    this.clock = new FakeClock(Date.UTC(2030, 0, 1));
    const tell = (event: string, transfer: HttpTransfer, sentBytes: number, why: string): void => {
      this.seen.push({ event, transfer, sentBytes, why });
      this.#wake();
    };
    this.server = new HttpServer({
      listen: [{ address: '127.0.0.1', port: 0 }],
      clock: this.clock,
      site: {
        resolve: resolve ?? (({ path }) => ({ kind: 'file', root: folder, path })),
      },
      observer: {
        started: ({ path }) => {
          this.#started.push(path);
          this.#wake();
        },
        finished: (transfer, sentBytes) => {
          tell('finished', transfer, sentBytes, '');
        },
        failed: (transfer, sentBytes, _ms, why) => {
          tell('failed', transfer, sentBytes, why);
        },
      },
    });
  }

  static async start(t: TestContext, resolve?: Resolve): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-http-'));
    const bench = new Bench(folder, resolve);
    await bench.server.start();
    t.after(async () => {
      const stopped = bench.server.stop();
      bench.clock.advance(LIMITS.stopMs);
      await stopped;
      await rm(folder, { recursive: true });
    });
    return bench;
  }

  get port(): number {
    return this.server.addresses[0]?.port ?? 0;
  }

  async file(name: string, content: string | Buffer): Promise<void> {
    await writeFile(join(this.folder, name), content);
  }

  async dial(): Promise<Client> {
    const socket = connect({ host: '127.0.0.1', port: this.port });
    await once(socket, 'connect');
    return new Client(socket);
  }

  /** One request on a connection of its own. */
  async ask(text: string): Promise<Answer> {
    const client = await this.dial();
    client.send(text);
    const answer = await client.answer(text.startsWith('HEAD'));
    client.socket.destroy();
    return answer;
  }

  /** Waits until the observer has been told of `count` ends. */
  async told(count: number): Promise<readonly Seen[]> {
    while (this.seen.length < count) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return this.seen;
  }

  /**
   * Waits until answers for a path have begun `count` times. What another connection was answered
   * says nothing of it: the server reads sockets in any order.
   */
  async started(path: string, count = 1): Promise<void> {
    while (this.#started.filter((p) => p === path).length < count) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** One answer as it came. */
export type Answer = { status: number; headers: Map<string, string>; body: Buffer };

/** A raw client: what it sends is exactly what the test says. */
export class Client {
  readonly socket: Socket;
  /** What came and was not yet read as an answer; newer bytes wait in the chunks. */
  #received = Buffer.alloc(0);
  #chunks: Buffer[] = [];
  #chunkBytes = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (d: Buffer) => {
      this.#chunks.push(d);
      this.#chunkBytes += d.length;
      this.#wake?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  send(text: string | Buffer): void {
    this.socket.write(text);
  }

  /** Waits until so many bytes came that were not read as an answer. */
  async received(bytes: number): Promise<void> {
    await this.#until(() => this.#received.length + this.#chunkBytes, bytes);
  }

  /** The next answer; for HEAD and 304 without a body. */
  async answer(bodiless = false): Promise<Answer> {
    const end = await this.#until(() => this.#joined().indexOf('\r\n\r\n'), 0);
    const [line = '', ...fields] = this.#received.subarray(0, end).toString('latin1').split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1]);
    const headers = new Map(
      fields.map((f) => [f.slice(0, f.indexOf(':')).toLowerCase(), f.slice(f.indexOf(':') + 2)]),
    );
    const length = bodiless ? 0 : Number(headers.get('content-length') ?? '0');
    const start = end + 4;
    await this.#until(() => this.#received.length + this.#chunkBytes, start + length);
    this.#joined();
    const body = this.#received.subarray(start, start + length);
    this.#received = this.#received.subarray(start + length);
    return { status, headers, body };
  }

  /** Waits until the server has closed; what came besides. */
  async closed(): Promise<string> {
    await this.#until(() => (this.#closed ? 1 : 0), 1);
    return this.#joined().toString('latin1');
  }

  #joined(): Buffer {
    this.#received = Buffer.concat([this.#received, ...this.#chunks]);
    this.#chunks = [];
    this.#chunkBytes = 0;
    return this.#received;
  }

  async #until(measure: () => number, least: number): Promise<number> {
    for (;;) {
      const value = measure();
      if (value >= least) return value;
      if (this.#closed) assert.fail(`closed after ${JSON.stringify(this.#joined().toString())}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A small seeded generator (xorshift32). */
export function generator(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}
