import { FakeClock } from '#base/mod.ts';
import { openNbd } from '#block/mod.ts';
import type { BlockDevice, NbdOptions } from '#block/mod.ts';

/** One request as a server sees it. */
export type SeenRequest = {
  readonly command: number;
  readonly flags: number;
  readonly cookie: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly data: Buffer;
};

/** Commands and errors of the NBD protocol, written down a second time. */
export const READ = 0;
export const WRITE = 1;
export const DISCONNECT = 2;
export const FLUSH = 3;
export const WRITE_ZEROES = 6;
export const BLOCK_STATUS = 7;
export const EIO = 5;
export const ENOSPC = 28;
export const ESHUTDOWN = 108;
export const FUA = 1;

/** Transmission flags that a usual server has: flush, FUA, write zeroes. */
export const USUAL_FLAGS = 1 | 4 | 8 | 64;

type Handler = (request: SeenRequest, connection: ServerConnection) => boolean;
type Events = Parameters<NonNullable<NbdOptions['dial']>>[0];

const OPTION_MAGIC = Buffer.from('IHAVEOPT');
const OPTION_REPLY_MAGIC = Buffer.from('0003e889045565a9', 'hex');

/**
 * An NBD server in memory, with a write cache that a crash loses, whose every answer a test can
 * replace. Written from the protocol's text, not from the client.
 */
export class ScriptedServer {
  /** What survives a crash, and what a reader sees. */
  durable: Buffer;
  cache: Buffer;
  flags = USUAL_FLAGS;
  structured = true;
  block = { minimum: 1, preferred: 4096, maximum: 32 * 1024 * 1024 };
  /** False: nobody listens. */
  listening = true;
  /** Returns true when it has dealt with the request. */
  handler: Handler = () => false;
  readonly requests: SeenRequest[] = [];
  readonly connections: ServerConnection[] = [];
  /** Bytes sent in place of a hello. */
  hello: Buffer | null = null;
  exportName = 'disk';

  constructor(sizeBytes: number) {
    this.durable = Buffer.alloc(sizeBytes);
    this.cache = Buffer.alloc(sizeBytes);
  }

  readonly dial: NonNullable<NbdOptions['dial']> = (events) => {
    const connection = new ServerConnection(this, events);
    this.connections.push(connection);
    queueMicrotask(() => {
      if (this.listening) connection.open();
      else connection.close('connection refused');
    });
    return connection.wire;
  };

  /** The process dies: connections end, what was not flushed is lost. */
  crash(): void {
    this.cache = Buffer.from(this.durable);
    for (const connection of this.connections) connection.close('connection reset');
  }

  /** Requests of a command since the beginning. */
  count(command: number): number {
    return this.requests.filter((r) => r.command === command).length;
  }

  get current(): ServerConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('nobody connected');
    return last;
  }

  /** Does what an honest server does. */
  serve(request: SeenRequest, connection: ServerConnection): void {
    const { command, flags, offset, length, data } = request;
    const end = offset + length;
    if (command === DISCONNECT) return;
    if (end > this.cache.length) throw new Error('beyond the end');
    if (offset % this.block.minimum !== 0 || length % this.block.minimum !== 0) {
      throw new Error('not in blocks');
    }
    if (command === WRITE) data.copy(this.cache, offset);
    else if (command === WRITE_ZEROES) this.cache.fill(0, offset, end);
    if (command === FLUSH) this.cache.copy(this.durable);
    if ((flags & FUA) !== 0) this.cache.copy(this.durable, offset, offset, end);
    if (command === READ) connection.data(request, this.cache.subarray(offset, end));
    else if (command === BLOCK_STATUS) connection.extents(request, [length, 0]);
    else connection.reply(request, 0);
  }
}

/** The server's end of one connection. */
export class ServerConnection {
  readonly #server: ScriptedServer;
  readonly #events: Events;
  #held: Buffer = Buffer.alloc(0);
  #phase: 'flags' | 'options' | 'requests' = 'flags';
  #ended = false;
  #waiting: Buffer[] = [];

  constructor(server: ScriptedServer, events: Events) {
    this.#server = server;
    this.#events = events;
  }

  get ended(): boolean {
    return this.#ended;
  }

  readonly wire = {
    write: (bytes: Uint8Array): void => {
      if (this.#ended) return;
      this.#waiting.push(Buffer.from(bytes));
      if (this.#waiting.length > 1) return;
      queueMicrotask(() => {
        const all = this.#waiting;
        this.#waiting = [];
        this.#take(Buffer.concat(all));
      });
    },
    end: (): void => {
      queueMicrotask(() => {
        this.#ended = true;
      });
    },
    destroy: (): void => {
      this.#ended = true;
    },
  };

  open(): void {
    this.#events.connected();
    const flags = Buffer.from([0, 3]);
    this.send(this.#server.hello ?? Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), flags]));
  }

  close(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.closed(reason);
  }

  /** Bytes to the client, as they are. */
  send(bytes: Buffer): void {
    if (!this.#ended) this.#events.received(bytes, bytes.length);
  }

  /** A simple reply. */
  reply(request: SeenRequest, error: number, data: Buffer = Buffer.alloc(0)): void {
    const header = Buffer.alloc(16);
    header.writeUInt32BE(0x67446698, 0);
    header.writeUInt32BE(error, 4);
    request.cookie.copy(header, 8);
    this.send(Buffer.concat([header, data]));
  }

  /** One chunk of a structured reply. */
  chunk(request: SeenRequest, type: number, payload: Buffer, done = true): void {
    const header = Buffer.alloc(20);
    header.writeUInt32BE(0x668e33ef, 0);
    header.writeUInt16BE(done ? 1 : 0, 4);
    header.writeUInt16BE(type, 6);
    request.cookie.copy(header, 8);
    header.writeUInt32BE(payload.length, 16);
    this.send(Buffer.concat([header, payload]));
  }

  /** Part of a read, `from` bytes into it. */
  dataChunk(request: SeenRequest, from: number, data: Buffer, done: boolean): void {
    const at = Buffer.alloc(8);
    at.writeBigUInt64BE(BigInt(request.offset + from));
    this.chunk(request, 1, Buffer.concat([at, data]), done);
  }

  data(request: SeenRequest, data: Buffer): void {
    if (this.#server.structured) this.dataChunk(request, 0, data, true);
    else this.reply(request, 0, data);
  }

  extents(request: SeenRequest, pairs: readonly number[]): void {
    const payload = Buffer.alloc(4 + pairs.length * 4);
    payload.writeUInt32BE(7, 0);
    for (const [i, n] of pairs.entries()) payload.writeUInt32BE(n, 4 + i * 4);
    this.chunk(request, 5, payload);
  }

  error(request: SeenRequest, error: number): void {
    if (!this.#server.structured || request.command !== READ) return this.reply(request, error);
    const payload = Buffer.alloc(6);
    payload.writeUInt32BE(error, 0);
    return this.chunk(request, 0x8001, payload);
  }

  #take(bytes: Buffer): void {
    this.#held = Buffer.concat([this.#held, bytes]);
    for (;;) {
      if (this.#ended) return;
      const taken = this.#step();
      if (taken === 0) return;
      this.#held = this.#held.subarray(taken);
    }
  }

  #step(): number {
    const held = this.#held;
    if (this.#phase === 'flags') {
      if (held.length < 4) return 0;
      this.#phase = 'options';
      return 4;
    }
    if (this.#phase === 'options') return this.#option(held);
    if (held.length < 28) return 0;
    if (held.readUInt32BE(0) !== 0x25609513) throw new Error('no request');
    const command = held.readUInt16BE(6);
    const length = held.readUInt32BE(24);
    const total = 28 + (command === WRITE ? length : 0);
    if (held.length < total) return 0;
    const request: SeenRequest = {
      command,
      flags: held.readUInt16BE(4),
      cookie: Buffer.from(held.subarray(8, 16)),
      offset: Number(held.readBigUInt64BE(16)),
      length,
      data: Buffer.from(held.subarray(28, total)),
    };
    this.#server.requests.push(request);
    if (!this.#server.handler(request, this)) this.#server.serve(request, this);
    return total;
  }

  #option(held: Buffer): number {
    if (held.length < 16) return 0;
    if (!held.subarray(0, 8).equals(OPTION_MAGIC)) throw new Error('no option');
    const option = held.readUInt32BE(8);
    const total = 16 + held.readUInt32BE(12);
    if (held.length < total) return 0;
    const data = held.subarray(16, total);
    if (option === 8) this.#answer(option, this.#server.structured ? 1 : 0x80000001);
    else if (option === 10) this.#context(option);
    else if (option === 6 || option === 7) this.#export(option, data);
    else if (option === 2) this.#answer(option, 1);
    else this.#answer(option, 0x80000001);
    return total;
  }

  #context(option: number): void {
    this.#answer(
      option,
      4,
      Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.from('base:allocation')]),
    );
    this.#answer(option, 1);
  }

  #export(option: number, data: Buffer): void {
    const server = this.#server;
    const name = data.toString('utf8', 4, 4 + data.readUInt32BE(0));
    if (name !== server.exportName) {
      this.#answer(option, 0x80000006, Buffer.from('not here'));
      return;
    }
    const about = Buffer.alloc(12);
    about.writeBigUInt64BE(BigInt(server.cache.length), 2);
    about.writeUInt16BE(server.flags, 10);
    const blocks = Buffer.alloc(14);
    blocks.writeUInt16BE(3, 0);
    blocks.writeUInt32BE(server.block.minimum, 2);
    blocks.writeUInt32BE(server.block.preferred, 6);
    blocks.writeUInt32BE(server.block.maximum, 10);
    this.#answer(option, 3, about);
    this.#answer(option, 3, blocks);
    if (option === 7) this.#phase = 'requests';
    this.#answer(option, 1);
  }

  #answer(option: number, type: number, data: Buffer = Buffer.alloc(0)): void {
    const header = Buffer.alloc(12);
    header.writeUInt32BE(option, 0);
    header.writeUInt32BE(type, 4);
    header.writeUInt32BE(data.length, 8);
    this.send(Buffer.concat([OPTION_REPLY_MAGIC, header, data]));
  }
}

/** A client of a scripted server, on a clock that the test moves. */
export async function openScripted(
  server: ScriptedServer,
  options: NbdOptions = {},
): Promise<{ device: BlockDevice & { readonly unflushedBytes: number }; clock: FakeClock }> {
  const clock = new FakeClock();
  const device = await openNbd('nbd://scripted/disk', { dial: server.dial, clock, ...options });
  await settled();
  return { device, clock };
}

/** Lets everything run that does not wait for the clock. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
