import type { Duplex } from 'node:stream';
import { messageOf, PolybootError, type Cancel, type Clock } from '#base/mod.ts';
import { encodeQmpCommand, QmpDecoder, type QmpEvent, type QmpMessage } from './qmp-messages.ts';

/**
 * QEMU refused a command, or the conversation broke. `errorClass` is QEMU's own (`GenericError`,
 * `CommandNotFound`, `DeviceNotFound` …), or ours: `Timeout`, `Closed`.
 */
export class QmpError extends PolybootError {
  readonly command: string;
  readonly errorClass: string;

  constructor(command: string, errorClass: string, message: string) {
    super('qmp', `${command}: ${message}`);
    this.command = command;
    this.errorClass = errorClass;
  }
}

/** QEMU answers commands between guest instructions: ten seconds mean that it hangs. */
const COMMAND_LIMIT_MS = 10_000;

type Pending = {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: QmpError) => void;
  readonly cancel: Cancel;
};

/** A client of QEMU's control socket: commands with answers, and events. */
export class QmpClient {
  readonly #stream: Duplex;
  readonly #clock: Clock;
  readonly #decoder = new QmpDecoder();
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #lastId = 0;
  #closed = false;
  #greeted: ((version: string) => void) | undefined;
  #version = '';

  private constructor(stream: Duplex, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
    stream.on('data', (bytes: Buffer) => {
      this.#take(bytes);
    });
    stream.on('error', () => {
      // `close` follows and tells everyone who waits.
    });
    stream.on('close', () => {
      this.#end('Closed', 'QEMU closed its control socket');
    });
  }

  /** Waits for QEMU's greeting and leaves negotiation mode. Throws QmpError. */
  static async connect(stream: Duplex, clock: Clock): Promise<QmpClient> {
    const client = new QmpClient(stream, clock);
    await client.#greeting();
    await client.execute('qmp_capabilities');
    return client;
  }

  /** QEMU's version, such as `7.2.22`. */
  get version(): string {
    return this.#version;
  }

  /** Runs one command. Returns QEMU's answer; throws QmpError when it refuses or says nothing. */
  execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    limitMs = COMMAND_LIMIT_MS,
  ): Promise<unknown> {
    if (this.#closed) {
      return Promise.reject(new QmpError(command, 'Closed', 'the control socket is closed'));
    }
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(limitMs, () => {
        this.#pending.delete(id);
        reject(new QmpError(command, 'Timeout', `no answer within ${limitMs / 1000} s`));
      });
      this.#pending.set(id, { command, resolve, reject, cancel });
      this.#stream.write(encodeQmpCommand(id, command, args));
    });
  }

  /** Calls `listener` for every event from now on; the result stops that. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Waits for the next event of that name. Throws QmpError when none comes within `limitMs`. */
  nextEvent(name: string, limitMs: number): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        cancel();
        off();
        this.#stream.off('close', closed);
      };
      const cancel = this.#clock.after(limitMs, () => {
        finish();
        reject(new QmpError(name, 'Timeout', `no such event within ${limitMs / 1000} s`));
      });
      const off = this.onEvent((event) => {
        if (event.name !== name) return;
        finish();
        resolve(event);
      });
      const closed = (): void => {
        finish();
        reject(new QmpError(name, 'Closed', 'QEMU ended before this event'));
      };
      this.#stream.on('close', closed);
    });
  }

  /** Ends the connection; commands under way fail with `Closed`. */
  close(): void {
    this.#stream.destroy();
  }

  #greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: QmpError): void => {
        cancel();
        reject(error);
      };
      const cancel = this.#clock.after(COMMAND_LIMIT_MS, () => {
        this.#pending.delete(0);
        reject(new QmpError('greeting', 'Timeout', 'QEMU did not greet'));
      });
      // Entered as a pending command, so that a closed socket ends this wait too.
      this.#pending.set(0, { command: 'greeting', resolve: () => {}, reject: fail, cancel });
      this.#greeted = (version) => {
        cancel();
        this.#pending.delete(0);
        this.#version = version;
        resolve();
      };
    });
  }

  #take(bytes: Buffer): void {
    let messages: QmpMessage[];
    try {
      messages = this.#decoder.feed(bytes);
    } catch (e) {
      this.#end('Protocol', messageOf(e));
      this.#stream.destroy();
      return;
    }
    for (const message of messages) this.#deliver(message);
  }

  #deliver(message: QmpMessage): void {
    if (message.kind === 'greeting') return this.#greeted?.(message.version);
    if (message.kind === 'event') {
      for (const listener of this.#listeners) listener(message.event);
      return;
    }
    // An answer without a known id belongs to a command that timed out: nobody waits for it.
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (message.id === undefined || pending === undefined) return;
    this.#pending.delete(message.id);
    pending.cancel();
    if (message.kind === 'return') pending.resolve(message.value);
    else {
      pending.reject(new QmpError(pending.command, message.errorClass, message.description));
    }
  }

  #end(errorClass: string, message: string): void {
    this.#closed = true;
    for (const pending of this.#pending.values()) {
      pending.cancel();
      pending.reject(new QmpError(pending.command, errorClass, message));
    }
    this.#pending.clear();
  }
}
