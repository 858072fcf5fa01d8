import type { Cancel, Clock } from '#base/mod.ts';
import { NbdConnection } from './connection.ts';
import type { ConnectionEvents, ConnectionOptions } from './connection.ts';
import type { NbdExport } from './handshake.ts';

const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 5000;

/** One connection after another to the same export; never two at a time. */
export class NbdLink {
  readonly #options: ConnectionOptions;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  #connection: NbdConnection | null = null;
  #backoffMs = BACKOFF_FIRST_MS;
  #retry: Cancel | null = null;
  #downSinceMs: number | null = null;

  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options;
    this.#clock = options.clock;
    this.#events = {
      ...events,
      up: (info) => {
        this.#downSinceMs = null;
        this.#backoffMs = BACKOFF_FIRST_MS;
        events.up(info);
      },
      down: (end) => {
        this.#connection = null;
        this.#downSinceMs ??= this.#clock.monotonicMs();
        events.down(end);
      },
    };
  }

  /** When the server said something last. */
  get heardMs(): number {
    return this.#connection?.heardMs ?? 0;
  }

  /** How long there has been no connection. */
  get downMs(): number {
    return this.#downSinceMs === null ? 0 : this.#clock.monotonicMs() - this.#downSinceMs;
  }

  connect(): void {
    this.#connection = new NbdConnection(this.#options, this.#events);
  }

  /** Connects after a while, longer each time. */
  connectLater(): void {
    this.#retry = this.#clock.after(this.#backoffMs, () => {
      this.connect();
    });
    this.#backoffMs = Math.min(BACKOFF_LAST_MS, this.#backoffMs * 2);
  }

  /** Takes leave of the server in order to come again. */
  connectAnew(): void {
    this.#connection?.leave();
    this.#downSinceMs = this.#clock.monotonicMs();
    this.connect();
  }

  send(frame: Uint8Array): void {
    this.#connection?.send(frame);
  }

  /** Ends the connection with an error of ours; the `down` event follows within the call. */
  giveUp(reason: string): void {
    this.#connection?.giveUp(reason);
  }

  /** No connection any more: in order when there is one and `politely`, else at once. */
  end(politely: boolean): void {
    this.#retry?.();
    const connection = this.#connection;
    this.#connection = null;
    if (politely) connection?.leave();
    else connection?.drop();
  }
}

/** How an export that came back is worse than it was, in words; null when it is not. */
export function changeForWorse(
  before: NbdExport,
  now: NbdExport,
  readOnly: boolean,
): string | null {
  if (now.sizeBytes < before.sizeBytes) {
    return `smaller (${now.sizeBytes} bytes, it had ${before.sizeBytes})`;
  }
  if (now.minimumBlockBytes > before.minimumBlockBytes) return 'with larger blocks';
  if (now.payloadBytesMax < before.payloadBytesMax) return 'with a lower limit of length';
  if (readOnly) return null;
  if (now.readOnly) return 'read-only';
  if (before.canFlush && !now.canFlush) return 'unable to flush';
  if (before.canFua && !before.canFlush && !now.canFua) return 'unable to write durably';
  return before.canZero && !now.canZero ? 'unable to write zeros' : null;
}
