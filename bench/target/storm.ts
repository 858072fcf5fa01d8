/**
 * Initiators that boot: each reads the same `bytes` of one image from end to end, then is done.
 *
 *   node bench/target/storm.ts '{"endpoint":…,"initiators":50,"bytes":104857600}'
 *
 * Prints `ready` when all are logged in, starts at a line on standard input, prints the seconds it
 * took as `done SECONDS`.
 */
import { once } from 'node:events';
import { LoadSession } from '../iscsi/session.ts';
import type { Endpoint, Workload } from '../iscsi/session.ts';

export type StormJob = {
  readonly endpoint: Endpoint;
  readonly initiators: number;
  readonly bytes: number;
};

/** What a guest's read-ahead asks for. */
const BLOCK_BYTES = 64 * 1024;
const LOOK_MS = 2;

const job = JSON.parse(process.argv[2] ?? '{}') as StormJob;
const work: Workload = {
  operation: 'read',
  blockBytes: BLOCK_BYTES,
  queueDepth: 4,
  pattern: 'sequential',
  digests: false,
};
const sessions = new Set<LoadSession>();
for (let n = 0; n < job.initiators; n++) {
  sessions.add(await LoadSession.open(job.endpoint, work, job.bytes, n));
}
process.stdout.write('ready\n');
await once(process.stdin, 'data');
process.stdin.pause();
const startMs = performance.now();
for (const session of sessions) session.start();
const commands = job.bytes / BLOCK_BYTES;
const look = setInterval(() => {
  for (const session of sessions) {
    if (session.completed < commands) continue;
    sessions.delete(session);
    void session.stop();
  }
  if (sessions.size > 0) return;
  clearInterval(look);
  process.stdout.write(`done ${(performance.now() - startMs) / 1000}\n`);
}, LOOK_MS);
