import type { Progress } from '#api/mod.ts';
import { formatBytes, type Clock } from '#base/mod.ts';
import { safe, type Screen } from './screen.ts';

const BAR_CHARS = 28;
/** Elsewhere than on a terminal: one line in this time is enough for a log. */
const PLAIN_EVERY_MS = 5_000;

/** Long work for the eye: a bar that redraws itself on a terminal, plain lines elsewhere. */
export class ProgressView {
  readonly #screen: Screen;
  readonly #clock: Clock;
  #phase = '';
  #plainMs = -Infinity;
  #barShown = false;

  constructor(screen: Screen, clock: Clock) {
    this.#screen = screen;
    this.#clock = clock;
  }

  /** Shows one step. */
  step(step: Progress): void {
    if (step.line !== undefined) {
      this.clear();
      this.#screen.note(safe(step.line));
    }
    if (this.#screen.err.isTty) this.#bar(step);
    else this.#plain(step);
    this.#phase = step.phase;
  }

  /** Takes the bar away, so that something else can be written. */
  clear(): void {
    if (this.#barShown) this.#screen.err.write('\r\u001b[K');
    this.#barShown = false;
  }

  #bar(step: Progress): void {
    const columns = this.#screen.err.columns ?? 80;
    this.#screen.err.write(`\r\u001b[K${progressText(step).slice(0, columns - 1)}`);
    this.#barShown = true;
  }

  #plain(step: Progress): void {
    const nowMs = this.#clock.monotonicMs();
    const news = step.phase !== this.#phase && step.line === undefined;
    if (!news && nowMs - this.#plainMs < PLAIN_EVERY_MS) return;
    if (step.doneBytes === undefined && !news) return;
    this.#plainMs = nowMs;
    const done = step.doneBytes === undefined ? '' : ` ${amount(step)}`;
    this.#screen.note(`${safe(step.phase)}${done}`);
  }
}

/** `copy [█████       ]  42 %  210 MiB of 504 MiB`, or without a bar when the end is unknown. */
export function progressText(step: Progress): string {
  const { phase, doneBytes, totalBytes } = step;
  if (doneBytes === undefined) return `${safe(phase)} …`;
  if (totalBytes === undefined || totalBytes <= 0) return `${safe(phase)} ${amount(step)}`;
  const part = Math.min(1, doneBytes / totalBytes);
  const full = Math.floor(part * BAR_CHARS);
  const bar = `${'█'.repeat(full)}${' '.repeat(BAR_CHARS - full)}`;
  const percent = `${Math.floor(part * 100)}`.padStart(3);
  return `${safe(phase)} [${bar}] ${percent} %  ${amount(step)}`;
}

function amount({ doneBytes = 0, totalBytes }: Progress): string {
  const done = formatBytes(doneBytes);
  return totalBytes === undefined ? done : `${done} of ${formatBytes(totalBytes)}`;
}
