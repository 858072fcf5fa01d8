/** What was measured, kept as one JSON line per row, and what it says about the goals. */
import { appendFile, readFile } from 'node:fs/promises';
import type { Sample } from './measure.ts';
import type { Row } from './rows.ts';

export type RowResult = {
  readonly folder: string;
  readonly name: string;
  /** Ours first. */
  readonly contenders: readonly {
    readonly name: string;
    readonly perSecond: number;
    readonly cpuMicroseconds: number;
  }[];
  readonly ratio: number;
  readonly goal: number | null;
  readonly reached: boolean;
};

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** Medians of each contender, and ours to the best of the others. */
export function summary(
  folder: string,
  row: Row,
  measured: readonly { readonly name: string; readonly samples: readonly Sample[] }[],
): RowResult {
  const contenders = measured.map(({ name, samples }) => ({
    name,
    perSecond: median(samples.map((s) => s.perSecond)),
    cpuMicroseconds: median(samples.map((s) => s.cpuMicroseconds)),
  }));
  const [ours, ...peers] = contenders;
  const best = Math.max(...peers.map((p) => p.perSecond));
  const cpu = ours?.cpuMicroseconds ?? 0;
  const { cpuGoal = Infinity, final: goal = null } = row.goals;
  const ratio = (ours?.perSecond ?? 0) / best;
  const reached = (goal === null || ratio >= goal) && cpu <= cpuGoal;
  return { folder, name: row.name, contenders, ratio, goal, reached };
}

/** One line for people. */
export function verdictOf(r: RowResult): string {
  const cells = r.contenders.map(
    (c) => `${c.name} ${Math.round(c.perSecond)}/s ${c.cpuMicroseconds.toFixed(1)} µs`,
  );
  const verdict = r.goal === null ? '' : ` (goal ${r.goal}: ${r.reached ? 'reached' : 'missed'})`;
  const name = `${r.folder} ${r.name}`.padEnd(44);
  return `${name} ${cells.join(' · ')} · ratio ${r.ratio.toFixed(2)}${verdict}`;
}

export async function appendResult(path: string, result: RowResult): Promise<void> {
  await appendFile(path, `${JSON.stringify(result)}\n`);
}

/** What is there so far; nothing where there is no file. */
export async function readResults(path: string): Promise<RowResult[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as RowResult);
}
