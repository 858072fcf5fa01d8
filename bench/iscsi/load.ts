/**
 * A process that loads a target with some sessions and reports what it measured as one JSON line:
 *
 *   node bench/iscsi/load.ts '{"endpoint":…,"workload":…,"sessions":1,"spanBytes":…,"seconds":2}'
 */
import { Drive } from './drive.ts';
import type { LoadJob, LoadResult } from './load-job.ts';
import { openSessions } from './session.ts';

const WARM_UP_MS = 300;
const DRAIN_MS = 10_000;

const job = JSON.parse(process.argv[2] ?? '{}') as LoadJob;
const sessions = await openSessions(job);
const drive = new Drive(sessions);
const total = (): number => sessions.reduce((sum, s) => sum + s.completed, 0);
for (const session of sessions) session.start();
drive.for(WARM_UP_MS);
// Written at once: a pipe is written to synchronously, and this thread waits in poll(2) only.
while (job.tellMs !== undefined) {
  process.stdout.write(`${total()} ${performance.now()}\n`);
  drive.for(job.tellMs);
}
const from = total();
const seconds = drive.for(job.seconds * 1000) / 1000;
const operations = total() - from;
for (const session of sessions) session.stop();
const drainMs = performance.now();
drive.until(
  () => sessions.every((s) => s.inFlight === 0) || performance.now() - drainMs > DRAIN_MS,
);
const failures = sessions.reduce((sum, s) => sum + s.failures + s.inFlight, 0);
const result: LoadResult = { operations, total: total(), seconds, failures };
process.stdout.write(`${JSON.stringify(result)}\n`);
for (const session of sessions) session.line.socket.destroy();
