import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkQcow2 } from '#block/mod.ts';
import { which } from '../lab/need.ts';
import { Running } from '../lab/process.ts';
import { blanks } from './qcow2-images.ts';
import { Qcow2Life } from './qcow2-life.ts';
import { Random } from './random.ts';
import type { FileFaults } from './sim-file.ts';
import type { LifeMaker } from './worker.ts';

/** The lives of qcow2 images that the tests choose among; see qcow2.test.ts. */
const CRASHES = 4;
/** Both checks cost more than the life itself. */
const CHECK_EVERY = 4;
const QEMU_EVERY = 40;

/** No faults but crashes. */
export const sound: LifeMaker = () => lives({});
/** Three of ten writes that make the file longer find no space. */
export const full: LifeMaker = () => lives({ noSpace: 0.3 });
/** One of ten syncs fails, and loses what it should have written. */
export const failing: LifeMaker = () => lives({ syncFails: 0.1 });
/** Syncs do nothing: this must be noticed. */
export const lying: LifeMaker = () => lives({ syncLies: true });

async function lives(faults: FileFaults): Promise<(seed: number) => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-sim-'));
  const all = await blanks(folder);
  await rm(folder, { recursive: true });
  const hasQemu = which('qemu-img') !== undefined;
  return async (seed) => {
    const blank = all[seed % all.length]!;
    try {
      const life = new Qcow2Life(new Random(seed), blank, faults);
      for (let crash = 0; crash < CRASHES; crash++) await life.live();
      const left = life.afterDeath();
      if (seed % CHECK_EVERY === 0 && left !== null) await assertSound(left);
      const bytes = await life.end();
      if (seed % CHECK_EVERY === 0) await assertSound(bytes);
      if (seed % QEMU_EVERY === 0 && hasQemu) await assertSoundForQemu(bytes);
    } catch (cause) {
      throw new Error(`${blank.name}: ${String(cause)}`, { cause });
    }
  };
}

/** Throws unless our own check finds the image without errors. */
function assertSound(bytes: Buffer): Promise<void> {
  return withFile(bytes, async (path) => {
    const report = await checkQcow2(path);
    assert.equal(report.errors, 0, report.findings.join('; '));
  });
}

/** Throws unless QEMU finds the image without errors; leaks are allowed. */
function assertSoundForQemu(bytes: Buffer): Promise<void> {
  return withFile(bytes, async (path) => {
    const check = new Running('qemu-img', ['check', '-f', 'qcow2', path]);
    const { code, stdout, stderr } = await check.finished();
    // 3: leaked clusters and no errors.
    assert.ok(code === 0 || code === 3, `qemu-img check: ${code}\n${stdout}${stderr}`);
  });
}

async function withFile(bytes: Buffer, use: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-sim-'));
  try {
    const path = join(folder, 'check.qcow2');
    await writeFile(path, bytes);
    await use(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}
