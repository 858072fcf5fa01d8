/** One contender under one load, for a moment. */
import { readFile } from 'node:fs/promises';
import { FILE_BYTES } from './contenders.ts';
import type { Contender } from './contenders.ts';
import { runLoads } from './load-job.ts';
import type { Endpoint, LoadJob } from './load-job.ts';
import type { Row } from './rows.ts';

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

/** Loads an endpoint with a row; `plain`: it is no target, and there is no login. */
export async function load(
  endpoint: Endpoint,
  row: Row,
  seconds: number,
  plain = false,
): ReturnType<typeof runLoads> {
  const { workload, sessions } = row;
  const job: LoadJob = { endpoint, workload, sessions, spanBytes: FILE_BYTES, seconds, plain };
  return runLoads(job, Math.min(LOAD_PROCESSES_MAX, sessions));
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
