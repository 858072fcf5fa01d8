import { styleText } from 'node:util';
import { printable } from '#base/mod.ts';

/** Where text goes, and what is at the other end. */
export type Output = {
  readonly write: (text: string) => void;
  readonly isTty: boolean;
  /** Width and height in characters; undefined: not a terminal. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
};

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Longest cell of a table and longest line of a message: enough for any path. */
const TEXT_CHARS_MAX = 4096;

/** Standard output and error of one command, with colours where they are wanted. */
export class Screen {
  readonly out: Output;
  readonly err: Output;
  readonly #colour: boolean;

  /** `NO_COLOR` (no-color.org), when set and not empty, and TERM=dumb switch colours off. */
  constructor(out: Output, err: Output, env: Readonly<Record<string, string | undefined>>) {
    this.out = out;
    this.err = err;
    const wanted = (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
    this.#colour = out.isTty && wanted;
  }

  /** A line of ours. What came from elsewhere goes through `safe` first. */
  line(text = ''): void {
    this.out.write(`${text}\n`);
  }

  /** A line on standard error: progress, news, complaints. */
  note(text: string): void {
    this.err.write(`${text}\n`);
  }

  /** A value as JSON that a program reads; control characters are escaped by JSON itself. */
  json(value: unknown): void {
    this.line(JSON.stringify(value, undefined, 2));
  }

  paint(style: Style, text: string): string {
    return this.#colour ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Rows under headings, columns aligned; cells are made safe to show. */
  table(headings: readonly string[], rows: readonly (readonly string[])[]): void {
    const cells = rows.map((row) => row.map(safe));
    const widths = headings.map((heading, n) =>
      Math.max(heading.length, ...cells.map((row) => row[n]?.length ?? 0)),
    );
    const lineOf = (row: readonly string[]): string =>
      row
        .map((cell, n) => cell.padEnd(widths[n] ?? 0))
        .join('  ')
        .trimEnd();
    this.line(this.paint('bold', lineOf(headings)));
    for (const row of cells) this.line(lineOf(row));
  }

  /** "name: value" lines, the values aligned and safe; undefined ones are left out. */
  fields(fields: Readonly<Record<string, string | undefined>>): void {
    const present = Object.entries(fields).filter(([, value]) => value !== undefined);
    const width = Math.max(0, ...present.map(([name]) => name.length)) + 2;
    for (const [name, value] of present) {
      const label = this.paint('dim', `${name}:`.padEnd(width));
      this.line(`${label}${safe(value ?? '')}`);
    }
  }
}

/** Text from the network or from a disk, safe for a terminal. */
export function safe(text: string): string {
  return printable(text, TEXT_CHARS_MAX);
}
