/** How much of its speed a session keeps while others do their worst. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Running } from '../../test/lab/process.ts';
import { RANDOM_READS, startLoad } from '../iscsi/load-job.ts';
import type { CrowdJob } from './crowd.ts';
import { MIB, helper, makeFile, median, residentMib } from './parts.ts';
import { startOurs } from './parts.ts';
import type { Bench } from './parts.ts';

const FILE_BYTES = 128 * MIB;
/** For what is under way to be over, on both sides. */
const SETTLE_MS = 300;
const TELL_MS = 20;

type Flood = Pick<CrowdJob, 'kind' | 'count' | 'perSecond'> & { readonly name: string };

const FLOODS: Readonly<Record<string, Flood>> = {
  'flood-half-open': {
    name: '10,000 half-open connections, 1,000 new ones a second',
    kind: 'half-open',
    count: 10_000,
    perSecond: 1000,
  },
  'flood-deaf': { name: '64 readers that never read', kind: 'deaf', count: 64, perSecond: 0 },
  'flood-storm': {
    name: 'connect and hang up, 1,000 times a second',
    kind: 'storm',
    count: 0,
    perSecond: 1000,
  },
};

/** Rows `flood-…`: the same load without and with the flood, in turn. */
export function flood(row: keyof typeof FLOODS): (bench: Bench) => Promise<void> {
  return async (bench) => {
    const kind = FLOODS[row];
    if (kind === undefined) throw new Error(`no flood ${row}`);
    const path = join(bench.folder, `polyboot-flood-${process.pid}.raw`);
    bench.after.push(() => rm(path));
    await makeFile(path, FILE_BYTES);
    const ours = await startOurs(bench, path);
    const { port, iqn } = ours.endpoint;
    // Logged in before the flood: this row is about those that are there already.
    const session = startLoad({
      endpoint: ours.endpoint,
      workload: RANDOM_READS,
      sessions: 1,
      spanBytes: FILE_BYTES,
      seconds: bench.seconds,
      tellMs: TELL_MS,
    });
    bench.after.push(() => session.stop('SIGKILL'));
    await session.waitFor(/\n/);
    const kept: number[] = [];
    const alone: number[] = [];
    const memory: number[] = [];
    for (let round = 0; round < bench.rounds; round++) {
      const before = await rate(session, bench.seconds);
      const crowd = helper(bench, 'crowd.ts', { ...kind, port, iqn });
      await crowd.waitFor(/ready\n/, 60_000);
      const during = await rate(session, bench.seconds);
      memory.push(await residentMib(ours.pid));
      await crowd.stop('SIGKILL');
      await wait(SETTLE_MS);
      alone.push(before);
      kept.push(during / before);
    }
    const worst = Math.round(Math.max(...memory));
    bench.say(
      `${kind.name}: a session keeps ${(100 * median(kept)).toFixed(0)} % of ` +
        `${Math.round(median(alone))}/s (goal 80 %), resident ${worst} MiB`,
    );
  };
}

/** Operations per second of a session that is at work. */
async function rate(session: Running, seconds: number): Promise<number> {
  await wait(SETTLE_MS);
  const from = told(session);
  await wait(seconds * 1000);
  const to = told(session);
  return (to.operations - from.operations) / ((to.ms - from.ms) / 1000);
}

/** What the session last said: the last line may not have come whole. */
function told(session: Running): { readonly operations: number; readonly ms: number } {
  const line = session.output.split('\n').at(-2) ?? '';
  const [operations, ms] = line.split(' ').map(Number);
  if (operations === undefined || ms === undefined) throw new Error(`no rate: ${session.output}`);
  return { operations, ms };
}
