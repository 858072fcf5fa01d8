/** One contender under one load, for a moment. */
import { FILE_BYTES } from './contenders.ts';
import type { Contender } from './contenders.ts';
import { cpuSeconds } from './cpu-seconds.ts';
import { runLoads } from './load-job.ts';
import type { Endpoint, LoadJob } from './load-job.ts';
import type { Row } from './rows.ts';

/** What was measured: operations per second, and processor time of the target for each. */
export type Sample = { readonly perSecond: number; readonly cpuMicroseconds: number };

/** A generator process feeds this many sessions without being the limit itself. */
const LOAD_PROCESSES_MAX = 2;

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
