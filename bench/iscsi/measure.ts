/** One contender under one load, for a moment. */
import { readFile } from 'node:fs/promises';
import { Running } from '../../test/lab/process.ts';
import { FILE_BYTES } from './contenders.ts';
import type { Contender } from './contenders.ts';
import type { LoadResult } from './load.ts';
import type { PollJob } from './poll-load.ts';
import type { Row } from './rows.ts';
import type { Endpoint } from './session.ts';

/** What was measured: operations per second, and processor time of the target for each. */
export type Sample = { readonly perSecond: number; readonly cpuMicroseconds: number };

/** Of the kernel, for utime and stime in /proc. */
const TICKS_PER_SECOND = 100;
/** A generator process feeds this many sessions without being the limit itself. */
const LOAD_PROCESSES_MAX = 2;

/** User and system time of a process so far. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function loadProcess(job: PollJob): Promise<LoadResult> {
  const script = new URL('poll-load.ts', import.meta.url).pathname;
  const child = new Running(process.execPath, [script, JSON.stringify(job)]);
  child.child.stdin?.end();
  const { code, stdout, stderr } = await child.finished();
  if (code !== 0) throw new Error(`the load generator failed: ${stderr}`);
  return JSON.parse(stdout) as LoadResult;
}

/** Loads an endpoint with a row; `plain`: it is no target, and there is no login. */
export async function load(
  endpoint: Endpoint,
  row: Row,
  seconds: number,
  plain = false,
): Promise<{ readonly perSecond: number; readonly total: number; readonly failures: number }> {
  const processes = Math.min(LOAD_PROCESSES_MAX, row.sessions);
  const job: PollJob = {
    endpoint,
    workload: row.workload,
    sessions: row.sessions / processes,
    spanBytes: FILE_BYTES,
    seconds,
    sleeps: true,
    plain,
  };
  const results = await Promise.all(Array.from({ length: processes }, () => loadProcess(job)));
  return {
    perSecond: results.reduce((sum, r) => sum + r.operations / r.seconds, 0),
    total: results.reduce((sum, r) => sum + r.total, 0),
    failures: results.reduce((sum, r) => sum + r.failures, 0),
  };
}

/** Runs the row's load against a contender. */
export async function measure(contender: Contender, row: Row, seconds: number): Promise<Sample> {
  const before = await cpuSeconds(contender.pid);
  const { perSecond, total, failures } = await load(contender.endpoint, row, seconds);
  const cpu = (await cpuSeconds(contender.pid)) - before;
  // Each session's first command is told that the nexus is new.
  if (failures > row.sessions) throw new Error(`${contender.name}: ${failures} commands failed`);
  return { perSecond, cpuMicroseconds: (cpu / total) * 1e6 };
}
