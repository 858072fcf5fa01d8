import type { Cancel, Clock, Explanation } from '#base/mod.ts';
import { printable } from '#base/mod.ts';
import { TokenBucket } from '#dhcp/mod.ts';
import { PATIENCE } from './diagnosis.ts';
import { stageIndex, type Stage } from './stages.ts';

/** What one stage has to tell: short values, already safe to show. */
export type Facts = Readonly<Record<string, string | number | boolean>>;

/** One thing that happened in one boot of one machine. */
export type TimelineEvent = {
  readonly id: number;
  /** Wall clock, milliseconds. */
  readonly atMs: number;
  /** Names the boot: all events of one power-on share it. */
  readonly boot: string;
  readonly machine?: string;
  readonly mac: string;
  readonly stage: Stage | 'stopped';
  readonly facts: Facts;
  readonly problem?: Explanation;
};

/** Where events are kept across restarts; gives each its number. */
export interface EventLog {
  append(event: Omit<TimelineEvent, 'id'>): number;
  after(id: number, limit: number): TimelineEvent[];
  /** Number of the newest event; 0 when there was none. */
  lastId(): number;
}

/** Boots remembered at once: more machines than any bench has; the oldest is forgotten first. */
export const BOOTS_MAX = 4096;
/** Events of one stage kept per boot, so that a looping machine cannot fill the disk. */
export const EVENTS_PER_STAGE_MAX = 32;
/** A firmware that asks again within this time, having got nowhere, is still in the same boot. */
export const SAME_BOOT_MS = 60_000;

/**
 * Boots of machines that nobody knows: a classroom at once, then 20 a second. Whoever invents MAC
 * addresses would otherwise push every real boot out of the log within a minute (hostile case 4).
 */
export const STRANGERS = { burst: 512, perSecond: 20 } as const;

type Boot = {
  readonly id: string;
  readonly mac: string;
  stage: Stage;
  lastMs: number;
  readonly seen: Map<string, number>;
  cancelWatch: Cancel | undefined;
};

type Options = {
  readonly clock: Clock;
  readonly log: EventLog;
  /** The machine's name at this moment, if it is known. */
  readonly machineOf: (mac: string) => string | undefined;
};

/**
 * Turns what the services see into the story of each boot, and says where one stopped. A boot is a
 * machine (MAC) in a time window: firmware cannot be asked for anything better.
 */
export class Timeline {
  readonly #options: Options;
  readonly #boots = new Map<string, Boot>();
  readonly #listeners = new Set<(event: TimelineEvent) => void>();
  readonly #strangers: TokenBucket;
  #count = 0;

  constructor(options: Options) {
    this.#options = options;
    const nowMs = options.clock.monotonicMs();
    this.#strangers = new TokenBucket(STRANGERS.perSecond, STRANGERS.burst, nowMs);
  }

  /**
   * Records that `mac` reached `stage`; begins a new boot when the machine has started again. Of
   * strangers that come too fast nothing is told.
   */
  reach(mac: string, stage: Stage, facts: Facts = {}): void {
    const nowMs = this.#options.clock.monotonicMs();
    let boot = this.#boots.get(mac);
    if (boot === undefined || startsAnew(boot, stage, nowMs)) boot = this.#begin(mac, stage, nowMs);
    if (boot === undefined) return;
    boot.lastMs = nowMs;
    if (stageIndex(stage) > stageIndex(boot.stage)) boot.stage = stage;
    if (isNews(boot, stage, facts)) this.#emit(boot, stage, facts);
    this.#watch(boot);
  }

  /** Records that the boot of `mac` failed, with the reason; it may still go on later. */
  stop(mac: string, facts: Facts, problem: Explanation): void {
    const nowMs = this.#options.clock.monotonicMs();
    const boot = this.#boots.get(mac) ?? this.#begin(mac, 'power-on', nowMs);
    if (boot === undefined) return;
    boot.cancelWatch?.();
    const told = { after: boot.stage, ...facts };
    if (isNews(boot, 'stopped', told)) this.#emit(boot, 'stopped', told, problem);
  }

  /** How far the current boot of `mac` has come. */
  stageOf(mac: string): Stage | undefined {
    return this.#boots.get(mac)?.stage;
  }

  /** The id of the current boot of `mac`. */
  bootOf(mac: string): string | undefined {
    return this.#boots.get(mac)?.id;
  }

  /** Events after number `id`, oldest first. */
  after(id: number, limit = 1000): TimelineEvent[] {
    return this.#options.log.after(id, limit);
  }

  /** Number of the newest event; 0 when there was none. */
  lastId(): number {
    return this.#options.log.lastId();
  }

  /** Calls `listener` for every event from now on; the result ends that. */
  subscribe(listener: (event: TimelineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Disarms every watch. */
  close(): void {
    for (const boot of this.#boots.values()) boot.cancelWatch?.();
    this.#listeners.clear();
  }

  #begin(mac: string, stage: Stage, nowMs: number): Boot | undefined {
    const known = this.#options.machineOf(mac) !== undefined;
    if (!known && !this.#strangers.take(nowMs)) return undefined;
    this.#boots.get(mac)?.cancelWatch?.();
    this.#boots.delete(mac);
    const oldest = this.#boots.size >= BOOTS_MAX ? this.#boots.keys().next().value : undefined;
    if (oldest !== undefined) {
      this.#boots.get(oldest)?.cancelWatch?.();
      this.#boots.delete(oldest);
    }
    const started = Math.round(this.#options.clock.wallMs()).toString(36);
    const boot: Boot = {
      id: `${mac.replaceAll(':', '')}-${started}-${this.#count++}`,
      mac,
      stage,
      lastMs: nowMs,
      seen: new Map(),
      cancelWatch: undefined,
    };
    this.#boots.set(mac, boot);
    return boot;
  }

  #emit(boot: Boot, stage: Stage | 'stopped', facts: Facts, problem?: Explanation): void {
    const machine = this.#options.machineOf(boot.mac);
    const event = {
      atMs: Math.round(this.#options.clock.wallMs()),
      boot: boot.id,
      ...(machine === undefined ? {} : { machine }),
      mac: boot.mac,
      stage,
      facts: safeFacts(facts),
      ...(problem === undefined ? {} : { problem }),
    };
    const whole = { id: this.#options.log.append(event), ...event };
    for (const listener of this.#listeners) listener(whole);
  }

  #watch(boot: Boot): void {
    boot.cancelWatch?.();
    boot.cancelWatch = undefined;
    const patience = PATIENCE[boot.stage];
    if (patience === undefined) return;
    boot.cancelWatch = this.#options.clock.after(patience.limitMs, () => {
      this.stop(boot.mac, { waitedSeconds: patience.limitMs / 1000 }, patience.problem);
    });
  }
}

/** True when `stage` can only mean that the machine started again. */
function startsAnew(boot: Boot, stage: Stage, nowMs: number): boolean {
  const reached = stageIndex(boot.stage);
  if (stage === 'power-on') {
    // Firmware repeats its DISCOVER for a minute; one that had come as far as iPXE was reset.
    return reached >= stageIndex('ipxe') || nowMs - boot.lastMs > SAME_BOOT_MS;
  }
  // iPXE asks for its address once per start, before its script.
  if (stage === 'ipxe') return reached >= stageIndex('script');
  return false;
}

/** Repeats are not news, and a loop stops being news. */
function isNews(boot: Boot, stage: Stage | 'stopped', facts: Facts): boolean {
  const key = `${stage} ${JSON.stringify(facts)}`;
  if (boot.seen.has(key)) return false;
  const count = boot.seen.get(stage) ?? 0;
  if (count >= EVENTS_PER_STAGE_MAX) return false;
  boot.seen.set(stage, count + 1);
  boot.seen.set(key, 1);
  return true;
}

function safeFacts(facts: Facts): Facts {
  return Object.fromEntries(
    Object.entries(facts).map(([k, v]) => [k, typeof v === 'string' ? printable(v, 200) : v]),
  );
}

/** Keeps the newest events in memory: for tests, and for a server without a store. */
export class MemoryEventLog implements EventLog {
  readonly #events: TimelineEvent[] = [];
  readonly #capacity: number;
  #next = 1;

  constructor(capacity = 10_000) {
    this.#capacity = capacity;
  }

  append(event: Omit<TimelineEvent, 'id'>): number {
    const id = this.#next++;
    this.#events.push({ id, ...event });
    if (this.#events.length > this.#capacity) this.#events.shift();
    return id;
  }

  lastId(): number {
    return this.#next - 1;
  }

  after(id: number, limit: number): TimelineEvent[] {
    return this.#events.filter((e) => e.id > id).slice(0, limit);
  }
}
