import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog, systemClock } from '#base/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { need } from '../lab/need.ts';

const MIB = 2 ** 20;
const DISK = { preset: 'gpt', sizeBytes: 8 * MIB } as const;

/** A library on a file system of its own, 16 MiB large. */
function smallLibrary(t: TestContext): { folder: string; library: ImageLibrary } | undefined {
  if (!need(t, { root: true, tools: ['mount'] })) return undefined;
  const root = mkdtempSync(join(tmpdir(), 'polyboot-full-'));
  const disk = join(root, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]);
  t.after(() => {
    // What was mapped of an image is let go of in the background.
    execFileSync('umount', ['--lazy', disk]);
    rmSync(root, { recursive: true, force: true });
  });
  const folder = join(disk, 'library');
  const library = ImageLibrary.open({
    folder,
    cacheFolder: join(root, 'cache'),
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  return { folder, library };
}

/** Leaves so many bytes free. */
function fillUp(folder: string, leaveBytes: number): string {
  const { bavail, bsize } = statfsSync(folder);
  const path = join(folder, '..', 'ballast');
  writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes), 'b'));
  return path;
}

test('a full disk in any verb: said, nothing is left of it, and it works once there is space', async (t) => {
  const it = smallLibrary(t);
  if (it === undefined) return;
  const { folder, library } = it;
  await library.create('a', DISK);
  await library.create('golden', DISK);
  await library.freeze('golden');
  const outside = join(folder, '..', 'outside.img');
  writeFileSync(outside, Buffer.alloc(4 * MIB, 'x'));
  const machine = { id: 'm', name: 'm' };
  const drive = { image: 'golden', mode: 'overlay-kept' } as const;
  const verbs: Readonly<Record<string, () => Promise<unknown>>> = {
    create: () => library.create('new', DISK),
    import: () => library.import(outside, { name: 'imported' }),
    clone: () => library.clone('a', 'cloned'),
    overlay: () => library.overlay('golden', 'over'),
    snapshot: () => library.snapshot('a'),
    export: () => library.export('a', join(folder, '..', 'out.img')),
    boot: async () => {
      const [problem] = await library.prepareBoot(machine, [drive], true);
      if (problem !== undefined) throw new Error(problem);
    },
  };
  for (const [verb, work] of Object.entries(verbs)) {
    const before = [library.list(), readdirSync(folder).sort(), readdirSync(join(folder, '..'))];
    const ballast = fillUp(folder, 0);
    await assert.rejects(work(), /no space|full|ENOSPC/i, verb);
    rmSync(ballast);
    const after = [library.list(), readdirSync(folder).sort(), readdirSync(join(folder, '..'))];
    assert.deepEqual(after, before, verb);
    await work();
  }
  assert.deepEqual((await library.check('a')).problems, []);
});
