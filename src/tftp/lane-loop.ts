import { messageOf } from '#base/mod.ts';
import type { Doorbell } from '#os/mod.ts';
import { LocalLane, type Lane, type LaneEvent, type LaneJob, type StopReason } from './lane.ts';
import { LoopClock } from './loop-clock.ts';
import { ERROR_CODE, OPCODE, encodePacket } from './packet.ts';
import { Ports } from './ports.ts';

/**
 * How long we stay in our own epoll before the thread's event loop may turn once: for messages (the
 * bell ends a wait at once) and for cold reads, which come back through the thread pool.
 */
const TURN_MS = 5;
/** While a cold read is on its way, nothing rings when it is done. */
const READING_WAIT_MS = 0.2;
/** Without timers there is no transfer; the bell wakes us. */
const LONGEST_WAIT_MS = 50;

const UNKNOWN_TRANSFER = encodePacket({
  op: 'error',
  code: ERROR_CODE.unknownTransferId,
  message: 'Unknown transfer',
});

/**
 * Runs transfers with a wait of its own: while there are any, this thread waits in our epoll
 * instead of libuv's, and lets libuv turn in between. Only for a thread that does nothing else.
 */
export class LaneLoop implements Lane {
  readonly #tell: (event: LaneEvent) => void;
  readonly #clock = new LoopClock();
  readonly #lane: LocalLane;
  readonly #ports: Ports;
  #turning = false;
  #rung = false;

  constructor(bell: Doorbell, tell: (event: LaneEvent) => void) {
    this.#tell = tell;
    this.#lane = new LocalLane(tell, this.#clock);
    this.#ports = new Ports(bell.fd, () => {
      bell.answer();
      this.#rung = true;
    });
  }

  /** Opens a port of its own for the transfer (its TID) and sends the first packet. */
  start(job: LaneJob): void {
    try {
      const port = this.#ports.open(job.local, job.client, {
        fromClient: (bytes, length) => {
          session.packet(bytes, length);
        },
        fromStranger: (bytes, answer) => {
          session.stray();
          // RFC 1350 §4: tell the stranger, and go on. Never answer an ERROR with one.
          if (bytes[1] !== OPCODE.error) answer(UNKNOWN_TRANSFER);
        },
      });
      // The port comes first and feeds the session that is made with it.
      const session = this.#lane.add(job, port.target, port.close);
      session.start();
    } catch (e) {
      // Out of descriptors, the address is gone: this transfer fails, the others go on.
      this.#tell(failedJob(job.id, messageOf(e)));
      return;
    }
    this.#turnSoon();
  }

  stop(id: number, reason: StopReason, message: string, tell: boolean): void {
    this.#lane.stop(id, reason, message, tell);
  }

  async close(): Promise<void> {
    await this.#lane.close();
    this.#ports.close();
  }

  #turnSoon(): void {
    if (this.#turning) return;
    this.#turning = true;
    setImmediate(() => {
      this.#turning = false;
      if (this.#lane.transfers === 0) return; // libuv's own wait, until the next message
      this.#turn();
      this.#turnSoon();
    });
  }

  #turn(): void {
    const untilMs = this.#clock.monotonicMs() + TURN_MS;
    this.#rung = false;
    for (;;) {
      const nowMs = this.#clock.monotonicMs();
      this.#clock.run(nowMs);
      if (nowMs >= untilMs || this.#rung || this.#lane.transfers === 0) return;
      const reading = this.#lane.reading;
      const most = reading ? READING_WAIT_MS : LONGEST_WAIT_MS;
      const found = this.#ports.turn(Math.min(most, this.#clock.untilNextMs(nowMs)));
      if (found === 0 && reading) return;
    }
  }
}

/** The end of a job that could not run. */
export function failedJob(id: number, message: string): LaneEvent {
  const ending = { kind: 'failed', reason: 'unavailable', message } as const;
  return { kind: 'ended', id, ending, durationMs: 0, tally: {} };
}
