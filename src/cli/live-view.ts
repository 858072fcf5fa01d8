import type { TimelineEvent } from '#api/mod.ts';
import { BootView, headLine, stageLine } from './boot-view.ts';
import type { Screen } from './screen.ts';

/** A boot that says nothing for so long leaves the part of the screen that is redrawn. */
const QUIET_MS = 10 * 60_000;

/** Shows the events of many boots as they come. */
export interface TimelineView {
  add(event: TimelineEvent): void;
}

/** Boots remembered by a watcher that runs for weeks; the oldest is forgotten first. */
const BOOTS_MAX = 4_096;

/**
 * For files and pipes: every event is a line, with a heading when the lines change from one boot to
 * another, and the verdict where there is one.
 */
export class PlainTimelines implements TimelineView {
  readonly #screen: Screen;
  readonly #boots = new Map<string, BootView>();
  #shown: string | undefined;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  add(event: TimelineEvent): void {
    const boot = this.#boots.get(event.boot) ?? new BootView(event);
    remember(this.#boots, event.boot, boot);
    boot.add(event);
    if (this.#shown !== event.boot)
      this.#screen.line(headLine(this.#screen, [event], boot.startMs));
    this.#shown = event.boot;
    this.#screen.line(stageLine(this.#screen, event, boot.startMs));
    for (const line of boot.verdict(this.#screen)) this.#screen.line(line);
  }
}

/** Sets `key` as the newest of at most `BOOTS_MAX`. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const oldest = map.size > BOOTS_MAX ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
}

/**
 * For terminals: one block per boot. Blocks of boots that go on are at the bottom and redrawn at
 * each event; a boot that is over (or quiet, or one too many for the screen) is left above.
 */
export class LiveTimelines implements TimelineView {
  readonly #screen: Screen;
  readonly #boots = new Map<string, BootView>();
  readonly #starts = new Map<string, TimelineEvent>();
  #drawnLines = 0;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  add(event: TimelineEvent): void {
    const start = this.#starts.get(event.boot) ?? event;
    remember(this.#starts, event.boot, start);
    const boot = this.#boots.get(event.boot) ?? new BootView(start);
    boot.add(event);
    // The newest at the bottom, where the eye is.
    remember(this.#boots, event.boot, boot);
    this.#erase();
    for (const old of this.#boots.values()) {
      const quiet = event.atMs - old.lastMs > QUIET_MS;
      const crowded = this.#boots.size > 1 && this.#height() > this.#room();
      if (old.over || quiet || crowded) this.#leave(old);
    }
    this.#draw();
  }

  #leave(boot: BootView): void {
    this.#boots.delete(boot.boot);
    this.#write([...boot.lines(this.#screen), '']);
  }

  #draw(): void {
    const lines = [...this.#boots.values()].flatMap((boot) => [...boot.lines(this.#screen), '']);
    // What scrolled off the top cannot be redrawn: of one long block its end is shown.
    lines.splice(1, Math.max(0, lines.length - this.#room()));
    this.#write(lines);
    this.#drawnLines = lines.length;
  }

  #erase(): void {
    // ECMA-48: cursor up, erase to the end of the screen.
    if (this.#drawnLines > 0) this.#screen.out.write(`\u001b[${this.#drawnLines}A\r\u001b[J`);
    this.#drawnLines = 0;
  }

  #write(lines: readonly string[]): void {
    for (const line of lines) this.#screen.line(this.#cut(line));
  }

  // A line that the terminal breaks counts as two, and the cursor would go up too little.
  #cut(line: string): string {
    const columns = this.#screen.out.columns ?? 80;
    // oxlint-disable-next-line no-control-regex -- the escapes are our own colours
    const parts = line.split(/(\u001b\[\d+m)/);
    let left = columns - 1;
    return parts
      .map((part, n) => {
        if (n % 2 === 1) return part;
        const kept = part.slice(0, Math.max(0, left));
        left -= kept.length;
        return kept;
      })
      .join('');
  }

  #height(): number {
    let height = 0;
    for (const boot of this.#boots.values()) height += boot.lines(this.#screen).length + 1;
    return height;
  }

  #room(): number {
    return (this.#screen.out.rows ?? 24) - 1;
  }
}
