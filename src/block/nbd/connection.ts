import { DecodeError, PolybootError, messageOf } from '#base/mod.ts';
import type { Cancel, Clock } from '#base/mod.ts';
import { Handshake, abortMessage } from './handshake.ts';
import type { NbdExport } from './handshake.ts';
import { Command, REQUEST_BYTES, encodeRequest } from './protocol.ts';
import { ReplyReader } from './reply.ts';
import type { ReplySink } from './reply.ts';
import type { Dial, Wire } from './wire.ts';

/**
 * Why a connection is no more. `server`: it ended it, could not be reached, or its process died;
 * what it had taken, it has done. `us`: we gave up (silence, garbage); it may still be at work.
 * `refusal` is what the negotiation ended with, for a person.
 */
export type ConnectionEnd = {
  readonly by: 'server' | 'us';
  readonly reason: string;
  readonly refusal: PolybootError | null;
};

export type ConnectionEvents = ReplySink & {
  readonly up: (info: NbdExport) => void;
  /** Once, and nothing after it. */
  readonly down: (end: ConnectionEnd) => void;
};

export type ConnectionOptions = {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly exportName: string;
  /** Connecting and negotiating together take at most this long. */
  readonly connectMs: number;
  readonly purpose?: 'use' | 'look';
};

/** One connection from the first byte to the last: connecting → negotiating → up → down. */
export class NbdConnection {
  readonly #events: ConnectionEvents;
  readonly #handshake: Handshake;
  readonly #wire: Wire;
  readonly #clock: Clock;
  readonly #deadline: Cancel;
  #reader: ReplyReader | null = null;
  #down = false;
  #heardMs = 0;

  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#events = events;
    this.#clock = options.clock;
    this.#handshake = new Handshake(options.exportName, options.purpose);
    this.#deadline = options.clock.after(options.connectMs, () => {
      this.giveUp('the server did not answer in time');
    });
    this.#wire = options.dial({
      connected: () => undefined, // the server speaks first
      received: (bytes, length) => {
        this.#received(bytes, length);
      },
      closed: (reason) => {
        this.#end({ by: 'server', reason, refusal: null });
      },
    });
  }

  /** When the server said something last. */
  get heardMs(): number {
    return this.#heardMs;
  }

  send(frame: Uint8Array): void {
    if (!this.#down) this.#wire.write(frame);
  }

  /** Ends it from our side with an error, without a word to the server. */
  giveUp(reason: string): void {
    if (this.#down) return;
    this.#wire.destroy();
    this.#end({ by: 'us', reason, refusal: null });
  }

  /** Ends it at once. No event follows. */
  drop(): void {
    if (this.#down) return;
    this.#down = true;
    this.#deadline();
    this.#wire.destroy();
  }

  /** Takes leave as the protocol wants it. No event follows. */
  leave(): void {
    if (this.#down) return;
    this.#down = true;
    this.#deadline();
    if (this.#reader === null) {
      this.#wire.destroy();
      return;
    }
    const frame = Buffer.alloc(REQUEST_BYTES);
    encodeRequest(frame, Command.DISCONNECT, 0, 0, 0);
    this.#wire.write(frame);
    this.#wire.end();
  }

  /** Ends a negotiation that only wanted to look. No event follows. */
  leaveLooking(): void {
    if (this.#down) return;
    this.#down = true;
    this.#wire.write(abortMessage());
    this.#wire.end();
  }

  #received(bytes: Uint8Array, length: number): void {
    this.#heardMs = this.#clock.monotonicMs();
    try {
      if (this.#reader !== null) this.#reader.push(bytes, length);
      else this.#negotiate(bytes.subarray(0, length));
    } catch (e) {
      // Whoever heard of an end inside may have ended us; the reader's complaint is stale then.
      if (this.#down) return;
      if (!(e instanceof PolybootError)) throw e;
      this.#wire.destroy();
      const refusal = this.#reader === null ? e : null;
      // Refused before anything was asked for: nothing of ours can be at work there.
      const by = e instanceof DecodeError ? 'us' : 'server';
      this.#end({ by, reason: messageOf(e), refusal });
    }
  }

  #negotiate(bytes: Uint8Array): void {
    const step = this.#handshake.receive(bytes);
    if (step.kind === 'more') {
      for (const message of step.send) this.#wire.write(message);
      return;
    }
    this.#deadline();
    const { structured, allocationContext } = step.export;
    this.#reader = new ReplyReader(this.#events, structured, allocationContext);
    this.#events.up(step.export);
    if (step.rest.length > 0 && !this.#down) this.#received(step.rest, step.rest.length);
  }

  #end(end: ConnectionEnd): void {
    if (this.#down) return;
    this.#down = true;
    this.#deadline();
    this.#events.down(end);
  }
}

/** Asks a server what an export is, on a connection of its own. Answers exactly once. */
export function lookAtExport(
  options: Omit<ConnectionOptions, 'purpose'>,
  answer: (info: NbdExport | ConnectionEnd) => void,
): void {
  const connection: NbdConnection = new NbdConnection(
    { ...options, purpose: 'look' },
    {
      awaited: () => undefined,
      finished: () => undefined,
      up: (info) => {
        connection.leaveLooking();
        answer(info);
      },
      down: answer,
    },
  );
}
