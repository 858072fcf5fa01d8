/**
 * Ours against tgt on the same kind of file, in the same run, taking turns: the table of goals.
 *
 *   node bench/iscsi.ts [--rounds 5] [--seconds 1] [--rows REGEX] [--folder DIR]…
 *                       [--results FILE] [--for SECONDS]
 *
 * Every row is raced in each folder (/dev/shm, a RAM disk, and /var/tmp unless others are named):
 * operations per second (medians), processor time of the target per operation, the ratio to the
 * better of tgt's default and tuned settings, its goal and the verdict. With `--results` what is
 * measured is kept, and a row that is there already is not raced again: with `--for` the whole
 * table can be run in pieces. Exit code: 0 all goals reached (in the first folder, which is what
 * they are for), 1 some missed, 3 not finished: run it again.
 */
import { parseArgs } from 'node:util';
import { startContenders } from './iscsi/contenders.ts';
import type { Contender } from './iscsi/contenders.ts';
import { measure } from './iscsi/measure.ts';
import type { Sample } from './iscsi/measure.ts';
import { appendResult, readResults, summary, verdictOf } from './iscsi/results.ts';
import type { RowResult } from './iscsi/results.ts';
import { ROWS } from './iscsi/rows.ts';
import type { Row } from './iscsi/rows.ts';

const NOT_FINISHED = 3;
/** Start of a load, logins, warm-up and drain. */
const OVERHEAD_SECONDS = 0.8;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1' },
    rows: { type: 'string', default: '' },
    folder: { type: 'string', multiple: true, default: ['/dev/shm', '/var/tmp'] },
    results: { type: 'string', default: '' },
    for: { type: 'string', default: 'Infinity' },
  },
});

const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const startedMs = performance.now();

/** Races one row: every contender once a round. */
async function race(
  folder: string,
  row: Row,
  contenders: readonly Contender[],
): Promise<RowResult> {
  const samples = contenders.map((): Sample[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [n, contender] of contenders.entries()) {
      samples[n]?.push(await measure(contender, row, seconds));
    }
  }
  return summary(
    folder,
    row,
    contenders.map((c, n) => ({ name: c.name, samples: samples[n] ?? [] })),
  );
}

/** Whether another row can be raced in the time that is left. */
function timeLeft(row: Row): boolean {
  const contenders = row.workload.digests ? 2 : 3;
  const need = rounds * contenders * (seconds + OVERHEAD_SECONDS);
  return (performance.now() - startedMs) / 1000 + need <= Number(values.for);
}

/** Races what is missing in a folder; false when the time is over. */
async function runFolder(folder: string, done: RowResult[]): Promise<boolean> {
  const wanted = new RegExp(values.rows);
  const missing = ROWS.filter(
    (row) => wanted.test(row.name) && !done.some((r) => r.folder === folder && r.name === row.name),
  );
  const first = missing[0];
  if (first === undefined) return true;
  if (!timeLeft(first)) return false;
  const field = await startContenders(folder);
  try {
    for (const row of missing) {
      if (!timeLeft(row)) return false;
      const result = await race(folder, row, row.workload.digests ? field.digests : field.plain);
      done.push(result);
      if (values.results !== '') await appendResult(values.results, result);
      process.stdout.write(`${verdictOf(result)}\n`);
    }
    return true;
  } finally {
    await field.stop();
  }
}

async function main(): Promise<number> {
  const done = values.results === '' ? [] : await readResults(values.results);
  for (const result of done) process.stdout.write(`${verdictOf(result)}\n`);
  for (const folder of values.folder) {
    if (!(await runFolder(folder, done))) {
      process.stdout.write('the time is over: the same command again runs the rest\n');
      return NOT_FINISHED;
    }
  }
  return done.every((r) => r.folder !== values.folder[0] || r.reached) ? 0 : 1;
}

process.exitCode = await main();
