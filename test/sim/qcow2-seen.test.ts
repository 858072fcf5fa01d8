import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { answered, openQcow2On } from '#block/mod.ts';
import type { Qcow2Device } from '#block/mod.ts';
import { settle } from './power-cut.ts';
import { blanks } from './qcow2-images.ts';
import type { Blank } from './qcow2-images.ts';
import { Random } from './random.ts';
import { BLOCK_BYTES } from './stamp.ts';
import { SimFile } from './sim-file.ts';

/** Steps that any of this takes at most. */
const STEPS = 1000;
/** Ways in which a power cut may go. */
const CUTS = 6;

type Verb = (device: Qcow2Device) => Promise<unknown>;

const VERBS: Readonly<Record<string, Verb>> = {
  grow: (device) =>
    answered((done) => {
      device.grow(device.sizeBytes + 100 * BLOCK_BYTES, done);
    }),
  snapshot: (device) => device.createSnapshot('s'),
};

async function opened(file: SimFile, { backing }: Blank): Promise<Qcow2Device> {
  const opening = openQcow2On(file, 'simulated', backing === null ? {} : { backing });
  const device = await settle(opening, file, STEPS);
  assert.ok(device !== null);
  return device;
}

/** What an opening shows of the verb. */
function shown(device: Qcow2Device): string {
  return `${device.sizeBytes} bytes, ${device.snapshots().length} snapshots`;
}

/** Kills the process `steps` into the verb; true when that came to its end before. */
async function killed(blank: Blank, verb: Verb, steps: number, random: Random): Promise<boolean> {
  const file = new SimFile(blank.image, random, 1);
  const ended = (await settle(verb(await opened(file, blank)), file, steps)) !== null;
  const left = file.death();
  const seen = shown(await opened(left, blank));
  const after = left.powerCut();
  assert.equal(shown(await opened(after, blank)), seen, `${blank.name}, after ${steps} steps`);
  return ended;
}

for (const [name, verb] of Object.entries(VERBS)) {
  test(`qcow2: what an opening shows of a ${name} that was killed outlives a power cut`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-sim-'));
    const all = await blanks(folder);
    await rm(folder, { recursive: true });
    for (const blank of all.filter((b) => b.snapshots)) {
      for (let cut = 0; cut < CUTS; cut++) {
        const random = new Random(cut);
        for (let steps = 0; !(await killed(blank, verb, steps, random)); steps++);
      }
    }
  });
}
