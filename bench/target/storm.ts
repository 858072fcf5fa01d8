/**
 * Initiators that boot: each reads the same `bytes` of one image from end to end, then is done.
 *
 *   node bench/target/storm.ts '{"endpoint":…,"initiators":50,"bytes":104857600}'
 *
 * Prints `ready` when all are logged in, starts at a line on standard input, prints the seconds it
 * took as `done SECONDS`.
 */
import { once } from 'node:events';
import { Drive } from '../iscsi/drive.ts';
import type { Endpoint, Workload } from '../iscsi/load-job.ts';
import { openSessions } from '../iscsi/session.ts';

export type StormJob = {
  readonly endpoint: Endpoint;
  readonly initiators: number;
  readonly bytes: number;
};

/** What a guest's read-ahead asks for. */
const BLOCK_BYTES = 64 * 1024;

const { endpoint, initiators, bytes } = JSON.parse(process.argv[2] ?? '{}') as StormJob;
const workload: Workload = {
  operation: 'read',
  blockBytes: BLOCK_BYTES,
  queueDepth: 4,
  pattern: 'sequential',
  digests: false,
};
const sessions = await openSessions({ endpoint, workload, sessions: initiators, spanBytes: bytes });
const drive = new Drive(sessions);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
process.stdin.pause();
const startMs = performance.now();
for (const session of sessions) session.start(bytes / BLOCK_BYTES);
drive.until(() => sessions.every((s) => s.inFlight === 0));
process.stdout.write(`done ${(performance.now() - startMs) / 1000}\n`);
for (const session of sessions) session.line.socket.destroy();
