/** A classroom is switched on: everybody reads the same image at once. */
import { cpuSeconds } from '../iscsi/cpu-seconds.ts';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB, helper, makeFile, median, startOurs, startPeer } from './parts.ts';
import type { Bench, Contender } from './parts.ts';
import type { StormJob } from './storm.ts';

const INITIATORS = 100;
const IMAGE_BYTES = 100 * MIB;
const PROCESSES = 2;

/** Row `boot-storm`: wall time and processor time of each, in turn. */
export async function bootStorm(bench: Bench): Promise<void> {
  const path = join(bench.folder, `polyboot-golden-${process.pid}.raw`);
  bench.after.push(() => rm(path));
  await makeFile(path, IMAGE_BYTES);
  const contenders = [await startOurs(bench, path), await startPeer(bench, path)];
  const times = new Map<string, { wall: number; cpu: number }[]>(
    contenders.map((c) => [c.name, []]),
  );
  for (let round = 0; round < bench.rounds; round++) {
    for (const each of contenders) times.get(each.name)?.push(await once(bench, each));
  }
  const cells = [...times].map(([name, t]) => {
    const wall = median(t.map((x) => x.wall)).toFixed(2);
    return `${name} ${wall} s wall, ${median(t.map((x) => x.cpu)).toFixed(2)} s processor`;
  });
  const [ours, tgt] = [...times.values()].map((t) => median(t.map((x) => x.wall)));
  const ratio = ((tgt ?? 0) / (ours ?? 1)).toFixed(2);
  bench.say(`${INITIATORS} × ${IMAGE_BYTES / MIB} MiB: ${cells.join('; ')}; tgt/ours ${ratio}`);
}

async function once(bench: Bench, contender: Contender): Promise<{ wall: number; cpu: number }> {
  const { endpoint } = contender;
  const job: StormJob = { endpoint, initiators: INITIATORS / PROCESSES, bytes: IMAGE_BYTES };
  const parts = Array.from({ length: PROCESSES }, () => helper(bench, 'storm.ts', job));
  for (const part of parts) await part.waitFor(/ready\n/);
  const before = await cpuSeconds(contender.pid);
  const startMs = performance.now();
  for (const part of parts) part.child.stdin?.write('go\n');
  for (const part of parts) await part.waitFor(/done \S+\n/, 120_000);
  const wall = (performance.now() - startMs) / 1000;
  const cpu = (await cpuSeconds(contender.pid)) - before;
  for (const part of parts) await part.stop();
  return { wall, cpu };
}
