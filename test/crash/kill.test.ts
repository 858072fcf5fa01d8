import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { need } from '../lab/need.ts';
import { firstSeeds, forSeeds, seeds } from '../sim/random.ts';
import { makeDisks, makeHastyDisks } from './kill-disk.ts';
import { Lane } from './lane.ts';

/** A file system in memory, where there is one. */
const MEMORY = '/dev/shm';

test('QEMU is here to judge a part of the images', (t) => {
  need(t, { tools: ['qemu-img'] });
});

/**
 * Durability contract 2 and 7, hostile case 39: the target is killed at more than a thousand random
 * moments under load, and in its starts. No write that was answered with GOOD may be missing, no
 * block torn, nothing foreign; an atomic write is there or is not. Several targets die at once,
 * each with its disks; the code that they load is compiled once (NODE_COMPILE_CACHE).
 */
test('kill -9 under load loses no acknowledged write', async (t) => {
  const folders = await Promise.all(
    // On a disk a flush takes milliseconds; in memory the load is hundreds of times denser.
    [tmpdir(), existsSync(MEMORY) ? MEMORY : tmpdir()].map((at) => mkdtemp(join(at, 'polyboot-'))),
  );
  t.after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));
  const env = { ...process.env, NODE_COMPILE_CACHE: join(folders[0] ?? '', 'cache') };
  const all = seeds(1_080, 10_600);
  const lanes = await Promise.all(
    Array.from({ length: Math.max(2, cpus().length) }, async (_, i) => {
      const place = join(folders[i % 2] ?? '', `lane-${i}`);
      await mkdir(place);
      return new Lane(makeDisks(place), env);
    }),
  );
  t.after(() => Promise.all(lanes.map((lane) => lane.close())));
  // A target that ends by itself leaves the compiled code behind.
  await lanes[0]?.begin();
  // One loss is enough: the others need not go on.
  let lost = false;
  await Promise.all(
    lanes.map(async (lane, i) => {
      try {
        const mine = all.filter((seed) => seed % lanes.length === i);
        await forSeeds(mine, async (seed) => {
          if (!lost) await lane.round(seed);
        });
        if (mine.length > 0) await lane.end();
      } catch (e) {
        lost = true;
        throw e;
      }
    }),
  );
  const sum = (pick: (lane: Lane) => number): number => lanes.reduce((n, l) => n + pick(l), 0);
  const underLoad = sum((l) => l.tally.underLoad);
  const starting = sum((l) => l.tally.starting);
  t.diagnostic(
    `${underLoad} kills under load, ${starting} in starts, ` +
      `${sum((l) => l.tally.acknowledged)} commands answered, seeds ${all[0]} to ${all.at(-1)}`,
  );
  if (process.env['POLYBOOT_SEEDS'] === undefined) assert.ok(underLoad >= 1_000);
});

test('a target that answers before it writes is found out', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-'));
  t.after(() => rm(folder, { recursive: true }));
  const lane = new Lane(makeHastyDisks(folder), process.env);
  t.after(() => lane.close());
  await assert.rejects(
    forSeeds(firstSeeds(50), (seed) => lane.round(seed)),
    /lba \d+ has/,
  );
});
