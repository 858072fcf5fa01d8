/** Cold data beside cached data, on one thread of one target or on two. */
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import { RANDOM_READS, loadResult, startLoad } from '../iscsi/load-job.ts';
import type { Workload } from '../iscsi/load-job.ts';
import { KIB, MIB, dropCache, load, makeFile, median } from './parts.ts';
import { startWatched } from './parts.ts';
import type { Bench, Watched } from './parts.ts';

const HOT_BYTES = 64 * MIB;
const COLD_BYTES = 1024 * MIB;
/** The seek of a hard disk. */
const SLOW_READ_MS = 8;

type Cold = { readonly name: string; readonly depth: number; readonly drop: boolean };

/** The slow disk at full depth, and a file that has to come from this host's disk. */
const SLOW: Cold = { name: `every read takes ${SLOW_READ_MS} ms`, depth: 32, drop: false };
const DROPPED: readonly Cold[] = [
  { name: 'page cache dropped, depth 4', depth: 4, drop: true },
  { name: 'page cache dropped, depth 32', depth: 32, drop: true },
];

/** Row `cold-slow`. */
export async function coldSlow(bench: Bench): Promise<void> {
  await beside(bench, [SLOW], SLOW_READ_MS);
}

/** Row `cold-dropped`. */
export async function coldDropped(bench: Bench): Promise<void> {
  await beside(bench, DROPPED, undefined);
}

/** Row `cold-threads`: the two disks in two threads, as `polyboot up` serves them. */
export async function coldThreads(bench: Bench): Promise<void> {
  await beside(bench, DROPPED, undefined, 2);
}

async function beside(
  bench: Bench,
  kinds: readonly Cold[],
  readMs: number | undefined,
  threads?: number,
): Promise<void> {
  const hotPath = join(bench.folder, `polyboot-hot-${process.pid}.raw`);
  const coldPath = join(bench.diskFolder, `polyboot-cold-${process.pid}.raw`);
  bench.after.push(
    () => rm(hotPath),
    () => rm(coldPath),
  );
  await makeFile(hotPath, HOT_BYTES);
  await makeFile(coldPath, COLD_BYTES);
  const slow = readMs === undefined ? {} : { readMs };
  const target = await startWatched(bench, {
    disks: [{ path: hotPath }, { path: coldPath, ...slow }],
    ...(threads === undefined ? {} : { threads }),
  });
  for (const kind of kinds) await one(bench, target, kind, coldPath);
}

async function one(bench: Bench, target: Watched, kind: Cold, coldPath: string): Promise<void> {
  const [hot, cold] = target.endpoints;
  if (hot === undefined || cold === undefined) throw new Error('two disks are served');
  const alone: number[] = [];
  const kept: number[] = [];
  const coldRates: number[] = [];
  const looks: { p50Ms: number; p99Ms: number; maxMs: number }[] = [];
  const { seconds } = bench;
  const work: Workload = { ...RANDOM_READS, queueDepth: kind.depth };
  const victim = { endpoint: hot, workload: RANDOM_READS, sessions: 1, spanBytes: HOT_BYTES };
  for (let round = 0; round < bench.rounds; round++) {
    const base = await load({ ...victim, seconds });
    if (kind.drop) await dropCache(coldPath);
    const noise = startLoad({
      endpoint: cold,
      workload: work,
      sessions: 1,
      spanBytes: COLD_BYTES,
      seconds: seconds + 1,
    });
    await target.reset();
    const pressed = await load({ ...victim, seconds });
    looks.push(await target.look());
    const result = await loadResult(noise);
    alone.push(base.perSecond);
    kept.push(pressed.perSecond / base.perSecond);
    coldRates.push(result.operations / result.seconds);
  }
  const at = (of: (l: (typeof looks)[number]) => number): string =>
    median(looks.map(of)).toFixed(1);
  bench.say(
    `${kind.name}: cached session ${Math.round(median(alone))}/s alone, keeps ` +
      `${(100 * median(kept)).toFixed(0)} % beside ${Math.round(median(coldRates))} cold/s ` +
      `of ${work.blockBytes / KIB} KiB; event loop late by p50 ${at((l) => l.p50Ms)}, ` +
      `p99 ${at((l) => l.p99Ms)}, most ${at((l) => l.maxMs)} ms`,
  );
}
