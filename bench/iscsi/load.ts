/**
 * A process that loads a target with some sessions and reports what it measured as one JSON line:
 *
 *   node bench/iscsi/load.ts '{"endpoint":…,"workload":…,"sessions":1,"spanBytes":…,"seconds":2}'
 */
import { setTimeout as wait } from 'node:timers/promises';
import { LoadSession } from './session.ts';
import type { Endpoint, Workload } from './session.ts';

export type LoadJob = {
  readonly endpoint: Endpoint;
  readonly workload: Workload;
  readonly sessions: number;
  readonly spanBytes: number;
  readonly seconds: number;
};
export type LoadResult = {
  /** Within the measured time, and in all. */
  readonly operations: number;
  readonly total: number;
  readonly seconds: number;
  readonly failures: number;
};

const WARM_UP_MS = 300;

const job = JSON.parse(process.argv[2] ?? '{}') as LoadJob;
const sessions: LoadSession[] = [];
for (let i = 0; i < job.sessions; i++) {
  sessions.push(await LoadSession.open(job.endpoint, job.workload, job.spanBytes, i));
}
const total = (): number => sessions.reduce((sum, s) => sum + s.completed, 0);
for (const session of sessions) session.start();
await wait(WARM_UP_MS);
const from = total();
const startMs = performance.now();
await wait(job.seconds * 1000);
const operations = total() - from;
const seconds = (performance.now() - startMs) / 1000;
await Promise.all(sessions.map((s) => s.stop()));
const failures = sessions.reduce((sum, s) => sum + s.failures, 0);
const result: LoadResult = { operations, total: total(), seconds, failures };
process.stdout.write(`${JSON.stringify(result)}\n`);
