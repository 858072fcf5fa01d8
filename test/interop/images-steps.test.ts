import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { DiskSource } from '#block/mod.ts';
import type { ImageLibrary } from '#images/mod.ts';
import type { StateStore } from '#store/mod.ts';
import { CrashStates } from './images-crash-states.ts';

/**
 * Kill -9 at each step of each verb, with the real store: the library that is opened after it is
 * as it was before the verb, or as it is after it, whole, and no file is left over.
 */
// In memory where that is possible: hundreds of states are made durable, for nobody.
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'polyboot-steps-'));
const folder = join(root, 'state');
const states = new CrashStates(folder, join(root, 'copies'));
// After the hooks: modules keep the functions that they find when they are loaded.
const { BasePool, openDisk } = await import('#block/mod.ts');
const { silentLog, systemClock } = await import('#base/mod.ts');
const images = await import('#images/mod.ts');
const { openState } = await import('#store/mod.ts');

const BYTES = 2 ** 20;
const P4 = { id: 'id-p4', name: 'p4' };
const KEPT = { image: 'golden', mode: 'overlay-kept' } as const;
const FRESH = { image: 'golden', mode: 'overlay-fresh' } as const;

type Lab = { library: ImageLibrary; state: StateStore };

function open(): Lab {
  const state = openState(join(folder, 'state.db'));
  const library = images.ImageLibrary.open({
    folder: join(folder, 'library'),
    cacheFolder: join(folder, 'cache'),
    repository: state.images,
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  return { library, state };
}

async function onDisk<T>(
  source: DiskSource,
  readOnly: boolean,
  work: (device: Awaited<ReturnType<typeof openDisk>>) => Promise<T>,
): Promise<T> {
  const device = await openDisk(source, { readOnly }, new BasePool());
  try {
    return await work(device);
  } finally {
    await new Promise<void>((resolve) => {
      device.close(() => {
        resolve();
      });
    });
  }
}

function write(source: DiskSource, at: number, text: string): Promise<void> {
  return onDisk(
    source,
    false,
    (device) =>
      new Promise((resolve, reject) => {
        device.write(at, Buffer.alloc(512, text), 0, 512, (error) => {
          if (error === null) resolve();
          else reject(error);
        });
      }),
  );
}

/** What can be read at three places. */
function textOf(source: DiskSource): Promise<string> {
  return onDisk(source, true, async (device) => {
    let text = '';
    for (const at of [512 * 1024, 600 * 1024, BYTES - 512]) {
      const bytes = Buffer.alloc(512);
      await new Promise<void>((resolve, reject) => {
        device.read(at, bytes, 0, 512, (error) => {
          if (error === null) resolve();
          else reject(error);
        });
      });
      text += bytes.toString('latin1', 0, 1).replace('\0', '-');
    }
    return text;
  });
}

/** All that the library knows, with the bytes behind it; ids and times are left out. */
async function describe({ library, state }: Lab): Promise<unknown> {
  const described: unknown[] = [];
  for (const { name, kind, frozen, sizeBytes, lastPoint } of library.list()) {
    const points: unknown[] = [];
    for (const { number, comment } of library.history(name).points)
      points.push([number, comment, await textOf(library.sourceOf(`${name}@${number}`))]);
    const text = await textOf(library.sourceOf(name));
    described.push({ name, kind, frozen, sizeBytes, lastPoint, points, text });
  }
  for (const overlay of state.images.overlays()) {
    const drive = overlay.hostBoot === undefined ? KEPT : FRESH;
    const disk = library.diskOf({ id: overlay.machine, name: overlay.machineName }, drive);
    described.push([
      overlay.machineName,
      overlay.next,
      overlay.hostBoot === undefined,
      await textOf(disk?.source ?? assert.fail('no disk')),
    ]);
  }
  const others = readdirSync(folder).filter((name) => !/^(state\.db|library|cache)/.test(name));
  described.push(others.map((name) => [name, statSync(join(folder, name)).size]));
  const owned = state.images.layers().filter((layer) => layer.owned);
  const files = owned.map((layer) => layer.path.slice(folder.length + 9));
  assert.deepEqual(readdirSync(join(folder, 'library')).sort(), files.sort());
  return described;
}

/** A golden image with two versions, an overlay image, a machine's overlay, a plain image. */
async function furnish({ library }: Lab): Promise<void> {
  const blank = { preset: 'gpt', sizeBytes: BYTES } as const;
  await library.create('plain', blank);
  await write(library.sourceOf('plain'), 512 * 1024, 'p');
  await library.snapshot('plain', 'one');
  await write(library.sourceOf('plain'), 512 * 1024, 'q');
  await library.create('golden', blank);
  await write(library.sourceOf('golden'), 600 * 1024, 'g');
  await library.freeze('golden', 'v1');
  await library.overlay('golden', 'over');
  await write(library.sourceOf('over'), 512 * 1024, 'n');
  await library.promote('over', 'v2');
  await write(library.sourceOf('over'), 512 * 1024, 'o');
  await library.prepareBoot(P4, [KEPT], true);
  await write(library.diskOf(P4, KEPT)?.source ?? assert.fail(), BYTES - 512, 'm');
}

const VERBS: Readonly<Record<string, (library: ImageLibrary) => Promise<unknown>>> = {
  create: (l) => l.create('new', { preset: 'gpt', sizeBytes: BYTES }),
  add: (l) => l.add(join(root, 'outside.img'), { name: 'new' }),
  import: (l) => l.import(join(root, 'outside.img'), { name: 'new' }),
  clone: (l) => l.clone('plain', 'new'),
  'clone of a file': (l) => l.clone('plain@1', 'new'),
  overlay: (l) => l.overlay('golden', 'new'),
  snapshot: (l) => l.snapshot('plain', 'two'),
  rollback: (l) => l.rollback('plain'),
  freeze: (l) => l.freeze('plain', 'v1'),
  promote: (l) => l.promote('over', 'v3'),
  'promote a machine': (l) => l.promoteOverlay('id-p4', 'golden', 'v3'),
  flatten: (l) => l.flatten('plain'),
  'flatten a golden one': (l) => l.flatten('golden'),
  export: (l) => l.export('plain', join(folder, 'out.img')),
  resize: (l) => l.resize('plain', 2 * BYTES),
  remove: (l) => l.remove('over'),
  'forget a point': (l) => l.remove('plain@1'),
  'boot fresh': (l) => l.prepareBoot(P4, [FRESH], true),
  'discard at once': (l) => {
    l.wish('id-p4', 'golden', 'discard', false);
    return Promise.resolve();
  },
};

test('kill -9 at each step of each verb: all of it or nothing of it', async (t) => {
  t.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  writeFileSync(join(root, 'outside.img'), Buffer.alloc(BYTES, 'x'));
  const counts: string[] = [];
  for (const [verb, work] of Object.entries(VERBS)) {
    counts.push(`${verb} ${await everyStep(t, verb, work)}`);
  }
  t.diagnostic(`kill points: ${counts.join(', ')}`);
});

async function everyStep(
  t: TestContext,
  verb: string,
  work: (library: ImageLibrary) => Promise<unknown>,
): Promise<number> {
  rmSync(folder, { recursive: true, force: true });
  rmSync(join(root, 'copies'), { recursive: true, force: true });
  for (const path of [folder, join(root, 'copies')]) mkdirSync(path);
  const lab = open();
  await furnish(lab);
  const before = await describe(lab);
  const found = await states.during(() => work(lab.library));
  const after = await describe(lab);
  lab.state.close();
  let done = false;
  for (const { step, path } of found) {
    states.restore(path);
    const again = open();
    const now = await describe(again);
    again.state.close();
    const isAfter = JSON.stringify(now) === JSON.stringify(after);
    if (!isAfter || done) assert.deepEqual(now, done ? after : before, `${verb}: ${step}`);
    done ||= isAfter && JSON.stringify(before) !== JSON.stringify(after);
  }
  await t.test(`${verb}: ${found.length} kill points`, () => {
    assert.ok(found.length > 2);
  });
  return found.length;
}
