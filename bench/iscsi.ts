/**
 * Ours against tgt on the same kind of file, in the same run, taking turns:
 *
 *   node bench/iscsi.ts [--rounds 5] [--seconds 2] [--rows REGEX] [--folder /dev/shm] [--first]
 *
 * Prints operations per second (medians), processor time of the target per operation, and the ratio
 * to the better of tgt's default and tuned settings. `--first` runs only the rows that have a goal
 * for the first release. Exit code 1 when a goal is missed.
 */
import { randomFillSync } from 'node:crypto';
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Running } from '../test/lab/process.ts';
import type { LoadJob, LoadResult } from './iscsi/load.ts';
import { ROWS } from './iscsi/rows.ts';
import type { Row } from './iscsi/rows.ts';
import type { Endpoint } from './iscsi/session.ts';
import { startTgt } from './iscsi/tgt.ts';

const FILE_BYTES = 256 * 1024 * 1024;
const TGT_PORT = 13_990;
/** Of the kernel, for utime and stime in /proc. */
const TICKS_PER_SECOND = 100;
/** A generator process feeds this many sessions without being the limit itself. */
const LOAD_PROCESSES_MAX = 2;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    rows: { type: 'string', default: '' },
    folder: { type: 'string', default: '/dev/shm' },
    first: { type: 'boolean', default: false },
  },
});

type Contender = { readonly name: string; readonly pid: number; readonly endpoint: Endpoint };
type Sample = { readonly perSecond: number; readonly cpuMicroseconds: number };

async function makeFile(path: string): Promise<void> {
  const file = await open(path, 'w');
  const piece = Buffer.alloc(16 * 1024 * 1024);
  for (let at = 0; at < FILE_BYTES; at += piece.length) {
    randomFillSync(piece);
    await file.write(piece, 0, piece.length, at);
  }
  await file.close();
}

/** User and system time of a process so far. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function measure(contender: Contender, row: Row, seconds: number): Promise<Sample> {
  const processes = Math.min(LOAD_PROCESSES_MAX, row.sessions);
  const before = await cpuSeconds(contender.pid);
  const results = await Promise.all(
    Array.from({ length: processes }, async (): Promise<LoadResult> => {
      const job: LoadJob = {
        endpoint: contender.endpoint,
        workload: row.workload,
        sessions: row.sessions / processes,
        spanBytes: FILE_BYTES,
        seconds,
      };
      const script = new URL('iscsi/load.ts', import.meta.url).pathname;
      const child = new Running(process.execPath, [script, JSON.stringify(job)]);
      child.child.stdin?.end();
      const { code, stdout, stderr } = await child.finished();
      if (code !== 0) throw new Error(`the load generator failed: ${stderr}`);
      return JSON.parse(stdout) as LoadResult;
    }),
  );
  const cpu = (await cpuSeconds(contender.pid)) - before;
  // Each session's first command is told that the nexus is new.
  const failures = results.reduce((sum, r) => sum + r.failures, 0);
  if (failures > row.sessions) throw new Error(`${contender.name}: ${failures} commands failed`);
  const all = results.reduce((sum, r) => sum + r.total, 0);
  return {
    perSecond: results.reduce((sum, r) => sum + r.operations / r.seconds, 0),
    cpuMicroseconds: (cpu / all) * 1e6,
  };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** Races one row; returns whether its goal was reached. */
async function race(
  row: Row,
  contenders: readonly Contender[],
  rounds: number,
  seconds: number,
): Promise<boolean> {
  const samples = contenders.map((): Sample[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [n, contender] of contenders.entries()) {
      samples[n]?.push(await measure(contender, row, seconds));
    }
  }
  const rates = samples.map((s) => median(s.map((x) => x.perSecond)));
  const cpus = samples.map((s) => median(s.map((x) => x.cpuMicroseconds)));
  const ratio = (rates[0] ?? 0) / Math.max(...rates.slice(1));
  const goal = values.first ? row.goals.first : row.goals.final;
  const reached = goal === undefined || ratio >= goal;
  const cells = contenders.map(
    (c, n) => `${c.name} ${Math.round(rates[n] ?? 0)}/s ${(cpus[n] ?? 0).toFixed(1)} µs`,
  );
  const verdict = goal === undefined ? '' : ` (goal ${goal}${reached ? '' : ', missed'})`;
  process.stdout.write(
    `${row.name.padEnd(34)} ${cells.join(' · ')} · ratio ${ratio.toFixed(2)}${verdict}\n`,
  );
  return reached;
}

async function main(): Promise<number> {
  const path = join(values.folder, `polyboot-bench-${process.pid}.raw`);
  await makeFile(path);
  const script = new URL('../test/interop/iscsi-export.ts', import.meta.url).pathname;
  const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
  const ours = new Running(process.execPath, [script, path], { env });
  const tgtPath = `${path}.tgt`;
  await makeFile(tgtPath);
  const tgt = await startTgt(tgtPath, TGT_PORT);
  try {
    const [, port = '', iqn = ''] = await ours.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(.*)\/0\n/);
    const endpoint: Endpoint = { address: '127.0.0.1', port: Number(port), iqn, lun: 0 };
    const us: Contender = { name: 'ours', pid: ours.pid, endpoint };
    const peer = (name: string, e: Endpoint): Contender => ({
      name: `tgt ${name}`,
      pid: tgt.process.pid,
      endpoint: e,
    });
    const plain = [peer('default', tgt.targets.default), peer('tuned', tgt.targets.tuned)];
    const digests = [peer('digests', tgt.targets.digests)];
    const wanted = new RegExp(values.rows);
    let missed = 0;
    for (const row of ROWS) {
      if (!wanted.test(row.name) || (values.first && row.goals.first === undefined)) continue;
      const peers = row.workload.digests ? digests : plain;
      const rounds = Number(values.rounds);
      if (!(await race(row, [us, ...peers], rounds, Number(values.seconds)))) missed += 1;
    }
    return missed === 0 ? 0 : 1;
  } finally {
    await ours.stop();
    await tgt.stop();
    await rm(path);
    await rm(tgtPath);
  }
}

process.exitCode = await main();
