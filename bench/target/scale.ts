/** What sessions cost: processor time, memory, and those that only sit there. */
import { cpuSeconds } from '../iscsi/cpu-seconds.ts';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RANDOM_READS } from '../iscsi/load-job.ts';
import { MIB, helper, load, makeFile, median } from './parts.ts';
import { residentMib, startOurs, startPeer } from './parts.ts';
import type { Bench, Contender } from './parts.ts';
import type { CrowdJob } from './crowd.ts';

const FILE_BYTES = 128 * MIB;
const COUNTS = [1, 4, 16, 64, 256];
const RESIDENT_AT = new Set([1, 64, 256]);
const IDLE_SESSIONS = 1000;

async function file(bench: Bench, name: string): Promise<string> {
  const path = join(bench.folder, `polyboot-${name}-${process.pid}.raw`);
  bench.after.push(() => rm(path));
  await makeFile(path, FILE_BYTES);
  return path;
}

/** Row `sessions`: 4 KiB random reads, depth 32 in all sessions together where they are many. */
export async function sessions(bench: Bench): Promise<void> {
  const ours = await startOurs(bench, await file(bench, 'sessions'));
  for (const count of COUNTS) {
    const rates: number[] = [];
    const costs: number[] = [];
    for (let round = 0; round < bench.rounds; round++) {
      const before = await cpuSeconds(ours.pid);
      const { perSecond, total } = await reads(ours, count, bench.seconds);
      rates.push(perSecond);
      costs.push(((await cpuSeconds(ours.pid)) - before) / total);
    }
    const micros = (median(costs) * 1e6).toFixed(1);
    const memory = RESIDENT_AT.has(count)
      ? `, resident ${Math.round(await residentMib(ours.pid))} MiB`
      : '';
    bench.say(`${count} sessions: ${Math.round(median(rates))}/s, ${micros} µs each${memory}`);
  }
}

function reads(
  contender: Contender,
  count: number,
  seconds: number,
): Promise<{ perSecond: number; total: number }> {
  const depth = Math.max(1, Math.min(32, Math.floor(1024 / count)));
  const workload = { ...RANDOM_READS, queueDepth: depth };
  const { endpoint } = contender;
  return load({ endpoint, workload, sessions: count, spanBytes: FILE_BYTES, seconds });
}

/** Row `cpu`: seconds of processor per 100,000 reads of 4 KiB, ours and tgt's in turn. */
export async function cpu(bench: Bench): Promise<void> {
  const ours = await startOurs(bench, await file(bench, 'cpu'));
  const tgt = await startPeer(bench, await file(bench, 'cpu-tgt'));
  for (const [depth, goal] of [
    [32, ' (goal 0.4)'],
    [1, ''],
  ] as const) {
    const costs = new Map<string, number[]>([ours, tgt].map((c) => [c.name, []]));
    for (let round = 0; round < bench.rounds; round++) {
      for (const each of [ours, tgt]) {
        const before = await cpuSeconds(each.pid);
        const workload = { ...RANDOM_READS, queueDepth: depth };
        const { endpoint } = each;
        const job = { endpoint, workload, sessions: 1, spanBytes: FILE_BYTES };
        const { total } = await load({ ...job, seconds: bench.seconds });
        costs.get(each.name)?.push((((await cpuSeconds(each.pid)) - before) / total) * 1e5);
      }
    }
    const cells = [...costs].map(([name, c]) => `${name} ${median(c).toFixed(2)} s`);
    bench.say(`processor per 100,000 reads at depth ${depth}: ${cells.join(', ')}${goal}`);
  }
}

/** Row `idle`: one busy session alone, and beside 1,000 that are logged in and do nothing. */
export async function idle(bench: Bench): Promise<void> {
  const ours = await startOurs(bench, await file(bench, 'idle'));
  const alone: number[] = [];
  for (let n = 0; n < bench.rounds; n++) {
    alone.push((await reads(ours, 1, bench.seconds)).perSecond);
  }
  const before = await residentMib(ours.pid);
  const { port, iqn } = ours.endpoint;
  const job: CrowdJob = { kind: 'idle', port, iqn, count: IDLE_SESSIONS, perSecond: 0 };
  await helper(bench, 'crowd.ts', job).waitFor(/ready\n/);
  const after = await residentMib(ours.pid);
  const beside: number[] = [];
  for (let n = 0; n < bench.rounds; n++) {
    beside.push((await reads(ours, 1, bench.seconds)).perSecond);
  }
  const kept = (100 * median(beside)) / median(alone);
  const each = (((after - before) * 1024) / IDLE_SESSIONS).toFixed(0);
  bench.say(
    `one session beside ${IDLE_SESSIONS} idle ones: keeps ${kept.toFixed(0)} % of ` +
      `${Math.round(median(alone))}/s; resident ${Math.round(before)} → ${Math.round(after)} MiB ` +
      `(${each} KiB a session)`,
  );
}
