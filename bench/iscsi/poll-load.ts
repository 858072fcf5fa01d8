/**
 * A process that loads a target with some sessions and reports what it measured as one JSON line:
 *
 *   node bench/iscsi/poll-load.ts '{"endpoint":…,"workload":…,"sessions":1,"spanBytes":…,
 *                                   "seconds":2,"sleeps":false}'
 *
 * It never sleeps: on a network the initiators are other machines, whose waking costs the target
 * nothing, but here an idle process would be woken by an interrupt on the target's time. With
 * `sleeps` it waits for its sockets like any other program.
 */
import { GatherSend } from '#os/mod.ts';
import { addressOf, bindCall } from '#os/libc.ts';
import { dial } from './dial.ts';
import type { LoadJob, LoadResult } from './load.ts';
import { Memory, PollSession } from './poll-session.ts';

/** What a load process is told. */
export type PollJob = LoadJob & {
  readonly sleeps: boolean;
  /** What is loaded is no target, and there is no login (ceiling.ts). */
  readonly plain?: boolean;
};

const WARM_UP_MS = 300;
const DRAIN_MS = 10_000;
const WAIT_MS = 100;
const POLLIN = 1;
const POLLOUT = 4;

const wait = bindCall('int poll(uintptr_t fds, unsigned long count, int timeout)');

const job = JSON.parse(process.argv[2] ?? '{}') as PollJob;
const memory = new Memory(job.workload.blockBytes);
const message = new GatherSend();
const sessions: PollSession[] = [];
for (let index = 0; index < job.sessions; index++) {
  const line = await dial(job.endpoint, job.plain === true ? null : job.workload.digests, index);
  const { lun } = job.endpoint;
  const parts = { lun, spanBytes: job.spanBytes, index, memory, message };
  sessions.push(new PollSession(line, job.workload, parts));
}

/** struct pollfd { int fd; short events, revents } of every session. */
const descriptors = new Uint32Array(2 * sessions.length);
const descriptorsAddress = addressOf(descriptors);

/** Sleeps until something has come, or there is room for what has to go. */
function sleep(): void {
  for (const [n, session] of sessions.entries()) {
    descriptors[2 * n] = session.line.fd;
    descriptors[2 * n + 1] = session.sentAll ? POLLIN : POLLIN | POLLOUT;
  }
  wait()(descriptorsAddress, sessions.length, WAIT_MS);
}

function pollUntil(over: () => boolean): void {
  while (!over()) {
    if (job.sleeps) sleep();
    for (const session of sessions) while (session.poll()) if (!job.sleeps) break;
  }
}

function pollFor(ms: number): number {
  const startMs = performance.now();
  pollUntil(() => performance.now() - startMs >= ms);
  return performance.now() - startMs;
}

const total = (): number => sessions.reduce((sum, s) => sum + s.completed, 0);
for (const session of sessions) session.start();
pollFor(WARM_UP_MS);
const from = total();
const seconds = pollFor(job.seconds * 1000) / 1000;
const operations = total() - from;
for (const session of sessions) session.stop();
const drainMs = performance.now();
pollUntil(() => sessions.every((s) => s.inFlight === 0) || performance.now() - drainMs > DRAIN_MS);
const failures = sessions.reduce((sum, s) => sum + s.failures + s.inFlight, 0);
const result: LoadResult = { operations, total: total(), seconds, failures };
process.stdout.write(`${JSON.stringify(result)}\n`);
for (const session of sessions) session.line.socket.destroy();
