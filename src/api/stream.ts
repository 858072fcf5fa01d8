import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { UserError } from '#base/mod.ts';
import { STREAM_UNSENT_BYTES_MAX, STREAMS_MAX } from './limits.ts';

/** The open streams of one listener: bounded, and all ended when it closes. */
export class Streams {
  readonly #open = new Set<Stream>();

  /** Takes the reply over for a stream. Throws UserError when too many are open. */
  start(reply: FastifyReply, contentType: string): Stream {
    if (this.#open.size >= STREAMS_MAX) {
      throw new UserError('conflict', 'too-many-streams', {
        what: `${STREAMS_MAX} streams are open already`,
        todo: 'end some of them (each `polyboot watch` is one) and try again',
      });
    }
    reply.hijack();
    const stream = new Stream(reply.raw, contentType);
    this.#open.add(stream);
    stream.onEnd(() => {
      this.#open.delete(stream);
    });
    return stream;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Ends them all. */
  close(): void {
    for (const stream of this.#open) stream.end();
  }
}

/** An answer that goes on. Holds a bounded amount for a client that does not read. */
export class Stream {
  readonly #raw: ServerResponse;
  readonly #onEnd = new Set<() => void>();

  constructor(raw: ServerResponse, contentType: string) {
    this.#raw = raw;
    raw.writeHead(200, {
      'content-type': contentType,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      // nginx would hold the lines back.
      'x-accel-buffering': 'no',
    });
    raw.flushHeaders();
    raw.on('error', () => undefined);
    raw.on('close', () => {
      for (const fn of this.#onEnd) fn();
      this.#onEnd.clear();
    });
  }

  /** False once the client has gone or the stream has ended. */
  get open(): boolean {
    return !this.#raw.destroyed && !this.#raw.writableEnded;
  }

  /** True while the client reads more slowly than we write. */
  get congested(): boolean {
    return this.#raw.writableNeedDrain;
  }

  /** Calls `fn` when the client is ready for more. */
  onDrain(fn: () => void): void {
    this.#raw.on('drain', fn);
  }

  /** Calls `fn` once, when the stream is over for whatever reason. */
  onEnd(fn: () => void): void {
    this.#onEnd.add(fn);
  }

  /** Sends text; a client that has let too much pile up is cut off. */
  write(text: string): void {
    if (!this.open) return;
    this.#raw.write(text);
    if (this.#raw.writableLength > STREAM_UNSENT_BYTES_MAX) this.#raw.destroy();
  }

  /** Ends the answer after what was written. */
  end(): void {
    if (this.open) this.#raw.end();
  }
}
