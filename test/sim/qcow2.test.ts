import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { TestContext } from 'node:test';
import { checkQcow2 } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { Running } from '../lab/process.ts';
import { blanks } from './qcow2-images.ts';
import { Qcow2Life } from './qcow2-life.ts';
import { Random, forSeeds, seeds } from './random.ts';

/**
 * qcow2 at power cuts and deaths of the process (durability contract 2 to 7, hostile cases 39 to
 * 41): the real engine over a simulated file, under the real logical unit.
 */
const CRASHES = 4;

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-sim-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** Throws unless our own check finds the image without errors. */
async function assertSound(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, bytes);
  const report = await checkQcow2(path);
  assert.equal(report.errors, 0, report.findings.join('; '));
}

/** Throws unless QEMU finds the image without errors; leaks are allowed. */
async function assertSoundForQemu(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, bytes);
  const check = new Running('qemu-img', ['check', '-f', 'qcow2', path]);
  const { code, stdout, stderr } = await check.finished();
  // 3: leaked clusters and no errors.
  assert.ok(code === 0 || code === 3, `qemu-img check: ${code}\n${stdout}${stderr}`);
}

suite('qcow2 crashes', () => {
  test('nothing promised is lost, and the image stays sound', async (t) => {
    const folder = await folderOf(t);
    const all = await blanks(folder);
    const path = join(folder, 'check.qcow2');
    const hasQemu = need(t, { tools: ['qemu-img'] });
    await forSeeds(seeds(2_000, 100_000), async (seed) => {
      const random = new Random(seed);
      const blank = all[seed % all.length]!;
      try {
        const life = new Qcow2Life(random, blank);
        for (let crash = 0; crash < CRASHES; crash++) await life.live();
        if (seed % 40 === 0 && hasQemu) await assertSoundForQemu(path, life.bytes);
        const bytes = await life.end();
        await assertSound(path, bytes);
        if (seed % 40 === 0 && hasQemu) await assertSoundForQemu(path, bytes);
      } catch (cause) {
        throw new Error(`${blank.name}: ${String(cause)}`, { cause });
      }
    });
  });

  for (const [name, faults] of Object.entries({
    'a full disk': { noSpace: 0.3 },
    'failing syncs': { syncFails: 0.1 },
  })) {
    test(`${name}: no promise is broken`, async (t) => {
      const folder = await folderOf(t);
      const all = await blanks(folder);
      const path = join(folder, 'check.qcow2');
      await forSeeds(seeds(500, 20_000), async (seed) => {
        const blank = all[seed % all.length]!;
        try {
          const life = new Qcow2Life(new Random(seed), blank, faults);
          for (let crash = 0; crash < CRASHES; crash++) await life.live();
          await assertSound(path, await life.end());
        } catch (cause) {
          throw new Error(`${blank.name}: ${String(cause)}`, { cause });
        }
      });
    });
  }

  test('the oracle notices a sync that lies', async (t) => {
    const all = await blanks(await folderOf(t));
    await assert.rejects(
      forSeeds(seeds(2_000, 2_000), async (seed) => {
        const life = new Qcow2Life(new Random(seed), all[seed % all.length]!, { syncLies: true });
        for (let crash = 0; crash < CRASHES; crash++) await life.live();
      }),
      /seed/,
    );
  });
});
