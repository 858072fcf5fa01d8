import type { Nexus } from './command.ts';
import type { SenseCode } from './sense.ts';

/** More than this many events in a row say the same to an initiator: look at everything again. */
const QUEUE_MAX = 8;

/** Unit attention conditions of one logical unit, per I_T nexus (SAM-5 §5.14). */
export class Attentions {
  readonly #queues = new Map<Nexus, SenseCode[]>();
  #pending = 0;
  readonly #changed: () => void;

  /** `changed` is told when `any` may have turned. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Whether any nexus has one pending. */
  get any(): boolean {
    return this.#pending > 0;
  }

  /** A nexus from now on can have attentions. */
  join(nexus: Nexus): void {
    if (!this.#queues.has(nexus)) this.#queues.set(nexus, []);
  }

  leave(nexus: Nexus): void {
    this.#pending -= this.#queues.get(nexus)?.length ?? 0;
    this.#queues.delete(nexus);
    this.#changed();
  }

  /** Whether there is any nexus at all. */
  get anyone(): boolean {
    return this.#queues.size > 0;
  }

  get nexuses(): IterableIterator<Nexus> {
    return this.#queues.keys();
  }

  /** Establishes a condition for one nexus; the same one twice is one. */
  establish(nexus: Nexus, code: SenseCode): void {
    const queue = this.#queues.get(nexus);
    if (queue === undefined || queue.includes(code) || queue.length >= QUEUE_MAX) return;
    queue.push(code);
    this.#pending += 1;
    this.#changed();
  }

  /** Establishes a condition for all nexuses, or all but one. */
  establishForAll(code: SenseCode, except?: Nexus): void {
    for (const nexus of this.#queues.keys()) if (nexus !== except) this.establish(nexus, code);
  }

  /** A reset says all there is to say: what was pending before goes (SAM-5 §5.14.2). */
  reset(code: SenseCode): void {
    for (const queue of this.#queues.values()) queue.length = 0;
    this.#pending = 0;
    this.establishForAll(code);
    this.#changed();
  }

  /** Takes the oldest condition of a nexus, if any: reporting clears it (UA_INTLCK_CTRL = 0). */
  take(nexus: Nexus): SenseCode | undefined {
    const code = this.#queues.get(nexus)?.shift();
    if (code === undefined) return undefined;
    this.#pending -= 1;
    this.#changed();
    return code;
  }
}
