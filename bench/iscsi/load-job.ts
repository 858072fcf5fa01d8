/** What a load is, and how one is run: in a process of its own (load.ts). */
import { Running } from '../../test/lab/process.ts';

export type Workload = {
  readonly operation: 'read' | 'write';
  readonly blockBytes: number;
  readonly queueDepth: number;
  readonly pattern: 'random' | 'sequential';
  readonly digests: boolean;
};

/** What fills a target's processor first. */
export const RANDOM_READS: Workload = {
  operation: 'read',
  blockBytes: 4096,
  queueDepth: 32,
  pattern: 'random',
  digests: false,
};

export type Endpoint = {
  readonly address: string;
  readonly port: number;
  readonly iqn: string;
  readonly lun: number;
};

export type LoadJob = {
  readonly endpoint: Endpoint;
  readonly workload: Workload;
  readonly sessions: number;
  readonly spanBytes: number;
  /** How long is measured; the warm-up is not part of it. */
  readonly seconds: number;
  /** What is loaded is no target, and there is no login (ceiling.ts). */
  readonly plain?: boolean;
  /** Never ends, and writes a line `OPERATIONS MILLISECONDS` this often. */
  readonly tellMs?: number;
};

export type LoadResult = {
  /** Within the measured time, and in all. */
  readonly operations: number;
  readonly total: number;
  readonly seconds: number;
  /** Commands that did not end with GOOD. A session's first is told that the nexus is new. */
  readonly failures: number;
};

/** Starts a load; who asked for lines ends it. */
export function startLoad(job: LoadJob): Running {
  const script = new URL('load.ts', import.meta.url).pathname;
  return new Running(process.execPath, [script, JSON.stringify(job)]);
}

/** What a load process measured, when it has ended; throws with what it said when it failed. */
export async function loadResult(load: Running): Promise<LoadResult> {
  load.child.stdin?.end();
  const { code, stdout, stderr } = await load.finished();
  if (code !== 0) throw new Error(`the load generator failed: ${stderr}`);
  return JSON.parse(stdout) as LoadResult;
}

/**
 * Shares the sessions of a job among processes; operations per second and totals of all together.
 */
export async function runLoads(
  job: LoadJob,
  processes: number,
): Promise<{ readonly perSecond: number; readonly total: number; readonly failures: number }> {
  const part: LoadJob = { ...job, sessions: Math.ceil(job.sessions / processes) };
  const results = await Promise.all(
    Array.from({ length: processes }, () => loadResult(startLoad(part))),
  );
  return {
    perSecond: results.reduce((sum, r) => sum + r.operations / r.seconds, 0),
    total: results.reduce((sum, r) => sum + r.total, 0),
    failures: results.reduce((sum, r) => sum + r.failures, 0),
  };
}
