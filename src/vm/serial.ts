import type { Duplex } from 'node:stream';
import { EnvironmentError, type Clock } from '#base/mod.ts';
import { AnsiStripper } from './ansi.ts';

/** One finished line of a guest's serial port. */
export type SerialLine = {
  /** Milliseconds since the console's `startClock`. */
  readonly atMs: number;
  readonly text: string;
};

/** A Linux boot prints about 60 KiB; a guest in a loop must not fill our memory. */
const TEXT_LIMIT = 1024 * 1024;
const LINES_LIMIT = 20_000;
/** How much of the end is shown when a wait fails. */
const TAIL_LINES = 12;

/**
 * A guest's serial console: keeps what was printed (the last megabyte, terminal control removed),
 * with a time for each line; waits for a pattern; types.
 */
export class SerialConsole {
  readonly #stream: Duplex;
  readonly #clock: Clock;
  readonly #ansi = new AnsiStripper();
  readonly #decoder = new TextDecoder();
  readonly #wake = new Set<() => void>();
  readonly #lines: SerialLine[] = [];
  #startMs: number;
  #text = '';
  #partial = '';
  /**
   * Characters forgotten from the front of `#text`, and the place (ever) up to which waits looked.
   */
  #forgotten = 0;
  #cursor = 0;
  #closed = false;

  constructor(stream: Duplex, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
    stream.on('data', (bytes: Buffer) => {
      this.#take(bytes);
    });
    stream.on('error', () => {
      // A reset of the socket is how a killed QEMU says goodbye; `close` follows.
    });
    stream.on('close', () => {
      this.#closed = true;
      this.#notify();
    });
  }

  /** Sets time zero of the line stamps: the moment of power-on. */
  startClock(): void {
    this.#startMs = this.#clock.monotonicMs();
  }

  /** All text kept so far. */
  get text(): string {
    return this.#text;
  }

  /** Finished lines kept so far, oldest first. */
  get lines(): readonly SerialLine[] {
    return this.#lines;
  }

  /** True when the guest's machine is gone. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The last lines, as a person reads them; for error texts. */
  tail(count = TAIL_LINES): string {
    const stamped = this.#lines
      .filter((l) => l.text.trim() !== '')
      .map((l) => `${(l.atMs / 1000).toFixed(2).padStart(8)} ${l.text}`);
    if (this.#partial.trim() !== '') stamped.push(`         ${this.#partial}`);
    return stamped.slice(-count).join('\n');
  }

  /** Types text, as a terminal would send it (`\r` is the Enter key). */
  write(text: string): void {
    this.#stream.write(text);
  }

  /**
   * Waits until something printed after the previous wait's match fits `pattern`. Throws
   * EnvironmentError `guest-silent` after `limitMs`, `guest-ended` when the machine is gone first.
   */
  async waitFor(pattern: RegExp, limitMs: number): Promise<RegExpExecArray> {
    // Sticky or global patterns would carry a position from one text to the next.
    const fresh = new RegExp(pattern.source, pattern.flags.replaceAll(/[gy]/g, ''));
    const deadlineMs = this.#clock.monotonicMs() + limitMs;
    for (;;) {
      const from = Math.max(0, this.#cursor - this.#forgotten);
      const match = fresh.exec(this.#text.slice(from));
      if (match !== null) {
        this.#cursor = this.#forgotten + from + match.index + match[0].length;
        return match;
      }
      if (this.#closed) throw this.#failure('guest-ended', `ended before it printed ${pattern}`);
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      if (leftMs <= 0) {
        throw this.#failure('guest-silent', `did not print ${pattern} within ${limitMs / 1000} s`);
      }
      await this.#change(leftMs);
    }
  }

  /** Ends the connection. */
  close(): void {
    this.#stream.destroy();
  }

  #take(bytes: Buffer): void {
    const added = this.#ansi.feed(this.#decoder.decode(bytes, { stream: true }));
    if (added === '') return;
    this.#text += added;
    if (this.#text.length > TEXT_LIMIT) {
      const cut = this.#text.length - TEXT_LIMIT / 2;
      this.#text = this.#text.slice(cut);
      this.#forgotten += cut;
    }
    const atMs = this.#clock.monotonicMs() - this.#startMs;
    const parts = (this.#partial + added).split('\n');
    this.#partial = parts.pop() ?? '';
    for (const text of parts) this.#lines.push({ atMs, text });
    // A guest that never ends its line must not grow it for ever either.
    this.#partial = this.#partial.slice(-TEXT_LIMIT / 2);
    if (this.#lines.length > LINES_LIMIT) this.#lines.splice(0, LINES_LIMIT / 2);
    this.#notify();
  }

  #failure(code: string, what: string): EnvironmentError {
    return new EnvironmentError(code, {
      what: `The guest ${what}.`,
      why: `The last it printed:\n${this.tail()}`,
    });
  }

  #notify(): void {
    for (const wake of this.#wake) wake();
  }

  #change(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#wake.delete(done);
        resolve();
      };
      const cancel = this.#clock.after(limitMs, done);
      this.#wake.add(done);
    });
  }
}
