import { styleText } from 'node:util';
import { printable } from '#base/mod.ts';
import type { TimelineEvent } from '#boot/mod.ts';
import type { Finding } from './networks.ts';

/** Where a local command writes, and whether that is a terminal with colours. */
export type Terminal = {
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
  readonly colour: boolean;
};

type Style = 'green' | 'yellow' | 'red' | 'dim' | 'bold';

/** Text in a colour where the terminal has colours (NO_COLOR is the caller's to obey). */
export function paint(terminal: Terminal, style: Style, text: string): string {
  return terminal.colour ? styleText(style, text, { validateStream: false }) : text;
}

/** One line per finding, with why and what to do under it. */
export function findingLines(terminal: Terminal, findings: readonly Finding[]): string[] {
  return findings.flatMap((f) => {
    const mark = {
      ok: paint(terminal, 'green', '✔'),
      warn: paint(terminal, 'yellow', '!'),
      fail: paint(terminal, 'red', '✘'),
    }[f.level];
    const lines = [`${mark} ${f.what}`];
    if (f.why !== undefined) lines.push(`    why: ${f.why}`);
    if (f.todo !== undefined) lines.push(`    do:  ${f.todo}`);
    return lines;
  });
}

/** One stage of a boot as a line: seconds since power-on, stage, facts. */
export function stageLine(terminal: Terminal, event: TimelineEvent, startMs: number): string {
  const seconds = ((event.atMs - startMs) / 1000).toFixed(1).padStart(7);
  const facts = Object.entries(event.facts)
    .map(([k, v]) => `${k} ${printable(String(v), 80)}`)
    .join(', ');
  const style = event.stage === 'stopped' ? 'red' : event.stage === 'ready' ? 'green' : 'bold';
  const line = `${seconds} s  ${paint(terminal, style, event.stage.padEnd(9))} ${facts}`;
  if (event.problem === undefined) return line;
  const { what, why, todo } = event.problem;
  const more = [
    what,
    why === undefined ? '' : `why: ${why}`,
    todo === undefined ? '' : `do:  ${todo}`,
  ];
  return [line, ...more.filter((m) => m !== '').map((m) => `             ${m}`)].join('\n');
}
