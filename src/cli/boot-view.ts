import type { TimelineEvent } from '#api/mod.ts';
import { safe, type Screen } from './screen.ts';

/** Facts of one line: a boot tells more than fits, the rest is in `--json`. */
const FACT_CHARS_MAX = 80;

/** One boot as it is known so far: its events in order. */
export class BootView {
  readonly boot: string;
  /** Wall clock of its first event. */
  readonly startMs: number;
  readonly #events: TimelineEvent[] = [];

  /** `start`: the first event of the boot, also when it was shown elsewhere already. */
  constructor(start: TimelineEvent) {
    this.boot = start.boot;
    this.startMs = start.atMs;
  }

  add(event: TimelineEvent): void {
    this.#events.push(event);
  }

  /** Wall clock of the newest event. */
  get lastMs(): number {
    return this.#events.at(-1)?.atMs ?? 0;
  }

  /** True once the system reported itself; nothing of interest follows. */
  get over(): boolean {
    return this.#events.some((event) => event.stage === 'ready');
  }

  /** Heading, one line per stage with seconds since the first, and the verdict if there is one. */
  lines(screen: Screen): string[] {
    const stages = this.#events.map((event) => stageLine(screen, event, this.startMs));
    const head = headLine(screen, this.#events, this.startMs);
    return [head, ...stages, ...this.verdict(screen)];
  }

  /** The line (and causes) with which a boot ends, as far as it has. */
  verdict(screen: Screen): string[] {
    const last = this.#events.at(-1);
    if (last?.stage === 'ready') {
      const seconds = ((last.atMs - this.startMs) / 1000).toFixed(1);
      return [`  ${screen.paint('green', `✔ ready after ${seconds} s`)}`];
    }
    if (last?.stage !== 'stopped') return [];
    const reached = this.#events.findLast((event) => event.stage !== 'stopped')?.stage;
    const where = reached === undefined ? 'stopped' : `stopped after "${reached}"`;
    const { what, why, todo } = last.problem ?? { what: 'it did not go on' };
    return [
      `  ${screen.paint('red', `✘ ${where}: ${safe(what)}`)}`,
      ...(why === undefined ? [] : [`    why: ${safe(why)}`]),
      ...(todo === undefined ? [] : [`    do:  ${safe(todo)}`]),
    ];
  }
}

/** Whose boot this is, and when it began. */
export function headLine(
  screen: Screen,
  events: readonly TimelineEvent[],
  startMs: number,
): string {
  const [first] = events;
  if (first === undefined) return '';
  const name = events.findLast((event) => event.machine !== undefined)?.machine;
  const who = name === undefined ? first.mac : `${name} (${first.mac})`;
  return `${screen.paint('bold', safe(who))} at ${clockTime(startMs)}`;
}

/** `   +3.2 s  script     url http://…, bytes 512`. */
export function stageLine(screen: Screen, event: TimelineEvent, startMs: number): string {
  const time = `+${((event.atMs - startMs) / 1000).toFixed(1)} s`.padStart(10);
  const style = event.stage === 'stopped' ? 'red' : event.stage === 'ready' ? 'green' : 'cyan';
  const stage = screen.paint(style, event.stage.padEnd(9));
  return `${screen.paint('dim', time)}  ${stage} ${factsText(event)}`.trimEnd();
}

function factsText({ facts }: TimelineEvent): string {
  const text = Object.entries(facts)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');
  return safe(text.length > FACT_CHARS_MAX ? `${text.slice(0, FACT_CHARS_MAX)}…` : text);
}

function clockTime(atMs: number): string {
  return new Date(atMs).toTimeString().slice(0, 8);
}
