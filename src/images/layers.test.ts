import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { BasePool, openDisk, type BlockDevice, type DiskSource } from '#block/mod.ts';
import { FakeClock, silentLog } from '#base/mod.ts';
import { ImageLibrary, MemoryImageRepository, type LiveDisks } from '#images/mod.ts';
import type { Drive, Holder } from '#machines/mod.ts';
import { answered } from '#block/mod.ts';
import { withDisk } from './device-io.ts';

const MIB = 2 ** 20;

type Bench = {
  readonly root: string;
  readonly folder: string;
  readonly repository: MemoryImageRepository;
  readonly library: ImageLibrary;
  readonly holders: Map<string, Holder[]>;
  readonly names: Map<string, string>;
  live: LiveDisks | undefined;
  readonly open: () => ImageLibrary;
};

function bench(t: TestContext): Bench {
  const root = mkdtempSync(join(tmpdir(), 'polyboot-layers-'));
  t.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  const repository = new MemoryImageRepository();
  const holders = new Map<string, Holder[]>();
  const names = new Map<string, string>();
  const folder = join(root, 'library');
  const rest = { root, folder, repository, holders, names };
  const open = (): ImageLibrary =>
    ImageLibrary.open({
      folder,
      cacheFolder: join(root, 'cache'),
      repository,
      clock: new FakeClock(),
      log: silentLog,
      usersOf: (name) => (holders.get(name) ?? []).map((h) => `machine ${h.machine}`),
      machines: { holdersOf: (name) => holders.get(name) ?? [], nameOf: (id) => names.get(id) },
      live: () => made.live,
    });
  const made: Bench = { ...rest, live: undefined, library: open(), open };
  return made;
}

const blank = { preset: 'gpt', sizeBytes: 8 * MIB } as const;
const P4 = { id: 'id-p4', name: 'p4' };
const drive = (image: string, mode: Drive['mode']): Drive => ({ image, mode });

async function writeAt(source: DiskSource, at: number, text: string): Promise<void> {
  await withDisk(source, 'write', (device) => put(device, at, text));
}

async function put(device: BlockDevice, at: number, text: string): Promise<void> {
  const bytes = Buffer.alloc(512, text);
  await answered((done) => {
    device.write(at, bytes, 0, bytes.length, done);
  });
}

async function textAt(source: DiskSource, at: number): Promise<string> {
  return withDisk(source, 'read', async (device) => {
    const bytes = Buffer.alloc(512);
    await answered((done) => {
      device.read(at, bytes, 0, bytes.length, done);
    });
    const [first] = bytes;
    return first === 0 ? '' : String.fromCharCode(first ?? 0);
  });
}

/** qemu-img finds the file whole. */
function whole(path: string): void {
  execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', path]);
}

test('snapshot and rollback: what was kept comes back, what was written since is gone', async (t) => {
  const { library, folder } = bench(t);
  const { path } = await library.create('a', blank);
  const at = 4 * MIB;
  await writeAt(library.sourceOf('a'), at, '1');
  assert.deepEqual((await library.snapshot('a', 'before')).notes, ['point 1 is kept']);
  assert.equal(statSync(path).mode & 0o777, 0o400, 'nobody writes what is kept');
  await writeAt(library.sourceOf('a'), at, '2');
  await library.snapshot('a');
  await writeAt(library.sourceOf('a'), at, '3');
  assert.equal(await textAt(library.sourceOf('a'), at), '3');
  whole(library.get('a').path);
  await library.rollback('a');
  assert.equal(await textAt(library.sourceOf('a'), at), '2');
  await library.rollback('a', 1);
  assert.equal(await textAt(library.sourceOf('a'), at), '1');
  await library.rollback('a', 2);
  assert.equal(await textAt(library.sourceOf('a'), at), '2', 'later points stay');
  const { points } = library.history('a');
  assert.deepEqual(
    points.map((p) => [p.number, p.comment, p.current]),
    [
      [1, 'before', false],
      [2, undefined, true],
    ],
  );
  assert.equal(readdirSync(folder).length, 3, 'heads that were rolled away are gone');
  await assert.rejects(library.rollback('a', 9), { code: 'point-unknown' });
});

test('the space of a point goes when nothing needs it, and its number never comes again', async (t) => {
  const { library, folder } = bench(t);
  await library.create('a', blank);
  await library.snapshot('a');
  await library.snapshot('a');
  await library.rollback('a', 1);
  await library.remove('a@2');
  assert.equal(readdirSync(folder).length, 2);
  await library.snapshot('a');
  assert.deepEqual(
    library.history('a').points.map((p) => p.number),
    [1, 3],
  );
  await library.remove('a@1');
  assert.equal(readdirSync(folder).length, 3, 'others stand on its layer');
  await library.flatten('a');
  await library.remove('a@3');
  assert.equal(readdirSync(folder).length, 1);
});

test('golden image: frozen, overlays see it, an overlay becomes its next version', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await writeAt(library.sourceOf('golden'), MIB, 'g');
  await assert.rejects(library.overlay('golden', 'o'), { code: 'image-not-frozen' });
  await library.freeze('golden', 'as installed');
  assert.deepEqual((await library.freeze('golden')).notes, ['it was frozen already']);
  await assert.rejects(library.snapshot('golden'), { code: 'image-frozen' });
  await assert.rejects(library.resize('golden', 16 * MIB), { code: 'image-frozen' });
  await library.overlay('golden', 'o', 'mine');
  await library.overlay('golden@1', 'p');
  assert.equal(library.get('o').source, 'overlay of golden');
  await writeAt(library.sourceOf('o'), MIB, 'o');
  assert.equal(await textAt(library.sourceOf('p'), MIB), 'g');
  const { image, notes } = await library.promote('o', 'new driver');
  assert.deepEqual([image.name, image.frozen], ['golden', true]);
  assert.match(notes[0] ?? '', /version 2 is in force/);
  assert.equal(await textAt(library.sourceOf('golden'), MIB), 'o');
  assert.equal(await textAt(library.sourceOf('o'), MIB), 'o');
  await writeAt(library.sourceOf('o'), MIB, 'x');
  assert.equal(await textAt(library.sourceOf('golden'), MIB), 'o', 'it goes on by itself');
  await assert.rejects(library.promote('p'), /has moved on since/);
  await library.rollback('golden', 1);
  assert.equal(library.get('golden').frozen, true);
  assert.equal(await textAt(library.sourceOf('golden'), MIB), 'g');
  await library.promote('p');
  assert.deepEqual(
    library.history('golden').points.map((p) => [p.number, p.comment]),
    [
      [1, 'as installed'],
      [2, 'new driver'],
      [3, 'from p'],
    ],
  );
});

test('rm: refused while anything stands on the image, and says what', async (t) => {
  const { library, folder } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  await library.overlay('golden', 'o');
  await library.prepareBoot(P4, [drive('golden', 'overlay-kept')], true);
  await assert.rejects(library.remove('golden'), /image "o", the overlay of machine "p4"/);
  await library.flatten('o');
  await assert.rejects(library.remove('golden'), { code: 'image-in-use' });
  library.wish('id-p4', 'golden', 'discard', false);
  await library.remove('golden');
  await library.remove('o');
  assert.deepEqual(readdirSync(folder), []);
});

test('a base that was changed is told by check, and nothing on it is opened (hostile case 36)', async (t) => {
  const { library } = bench(t);
  const { path } = await library.create('golden', blank);
  await library.freeze('golden');
  await library.overlay('golden', 'o');
  assert.deepEqual((await library.check('o')).problems, []);
  execFileSync('sh', [
    '-c',
    `chmod u+w ${path}; printf x | dd of=${path} conv=notrunc status=none`,
  ]);
  await assert.rejects(textAt(library.sourceOf('o'), 0), { code: 'base-changed' });
  const { problems } = await library.check('o');
  assert.deepEqual(
    problems.map((p) => [p.severity, p.code]),
    [['error', 'base-changed']],
  );
});

test('flatten: one file with the same bytes; golden stays golden', async (t) => {
  const { library, folder } = bench(t);
  await library.create('a', blank);
  await writeAt(library.sourceOf('a'), MIB, '1');
  await library.freeze('a');
  await library.overlay('a', 'o');
  await writeAt(library.sourceOf('o'), 2 * MIB, '2');
  await library.promote('o');
  await library.remove('o');
  const before = library.history('a').points;
  const { image } = await library.flatten('a');
  assert.deepEqual([image.kind, image.frozen], ['raw', true]);
  assert.equal(await textAt(library.sourceOf('a'), MIB), '1');
  assert.equal(await textAt(library.sourceOf('a'), 2 * MIB), '2');
  assert.deepEqual(
    library.history('a').points.map((p) => p.number),
    before.map((p) => p.number),
  );
  await library.remove('a@1');
  assert.equal(readdirSync(folder).length, 1);
  assert.deepEqual((await library.flatten('a')).notes, ['it is one layer already']);
});

test('resize: larger in place, for a file and for a layer; never smaller', async (t) => {
  const { library } = bench(t);
  await library.create('a', blank);
  await library.resize('a', 12 * MIB);
  assert.equal(statSync(library.get('a').path).size, 12 * MIB);
  await library.snapshot('a');
  await library.resize('a', 20 * MIB + 1);
  assert.equal(library.get('a').sizeBytes, 20 * MIB + 512);
  await writeAt(library.sourceOf('a'), 20 * MIB, 'e');
  assert.equal(await textAt(library.sourceOf('a'), 20 * MIB), 'e');
  whole(library.get('a').path);
  await assert.rejects(library.resize('a', MIB), { code: 'disk-size' });
  await assert.rejects(library.resize('a', 2 ** 60), { code: 'disk-size' });
  await library.rollback('a');
  assert.equal(library.get('a').sizeBytes, 12 * MIB, 'a point has the size that it had');
});

test('usage: what is shared counts once, and is named', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  await library.overlay('golden', 'o');
  const golden = library.usage('golden');
  const o = library.usage('o');
  assert.equal(golden.ownBytes, 0);
  assert.equal(o.sharedBytes, golden.sharedBytes);
  assert.ok(o.ownBytes > 0 && o.ownBytes < MIB);
  assert.deepEqual(
    o.layers.map((l) => [l.format, l.frozen, l.neededBy]),
    [
      ['qcow2', false, ['image "o"']],
      ['raw', true, ['image "golden"', 'point 1 of image "golden"', 'image "o"']],
    ],
  );
});

test('a machine that boots gets its overlay; both logins of one boot see the same', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const fresh = drive('golden', 'overlay-fresh');
  const source = (): DiskSource => library.diskOf(P4, fresh)?.source ?? assert.fail('no disk');
  assert.equal(library.diskOf(P4, fresh), undefined, 'before its first boot there is none');
  assert.deepEqual(await library.prepareBoot(P4, [fresh], true), []);
  const first = source();
  assert.equal(library.diskOf(P4, fresh)?.volatile, true);
  await writeAt(first, MIB, 'w');
  await library.prepareBoot(P4, [fresh], false);
  assert.deepEqual(source(), first, 'the boot goes on');
  assert.equal(await textAt(source(), MIB), 'w');
  await library.prepareBoot(P4, [fresh], true);
  assert.notDeepEqual(source(), first);
  assert.equal(await textAt(source(), MIB), '', 'the next boot begins anew');
});

test('keep and discard hold for one boot', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const boot = async (mode: Drive['mode']): Promise<string> => {
    const d = drive('golden', mode);
    assert.deepEqual(await library.prepareBoot(P4, [d], true), []);
    const source = library.diskOf(P4, d)?.source ?? assert.fail('no disk');
    const seen = await textAt(source, MIB);
    await writeAt(source, MIB, 'w');
    return seen;
  };
  assert.deepEqual([await boot('overlay-kept'), await boot('overlay-kept')], ['', 'w']);
  library.wish('id-p4', 'golden', 'discard', true);
  assert.equal(library.overlays()[0]?.next, 'discard');
  assert.deepEqual([await boot('overlay-kept'), await boot('overlay-kept')], ['', 'w']);
  assert.equal(await boot('overlay-fresh'), '', 'a fresh one forgets');
  library.wish('id-p4', 'golden', 'keep', true);
  assert.deepEqual([await boot('overlay-fresh'), await boot('overlay-fresh')], ['w', '']);
  const state = library.overlays()[0];
  assert.deepEqual([state?.kept, state?.next, state?.version], [false, undefined, 1]);
});

test('an overlay of a machine is promoted; kept ones of others stay until discarded', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const other = { id: 'id-p5', name: 'p5' };
  const kept = drive('golden', 'overlay-kept');
  await library.prepareBoot(P4, [kept], true);
  await library.prepareBoot(other, [kept], true);
  await writeAt(library.diskOf(P4, kept)?.source ?? assert.fail(), MIB, 'n');
  const { notes } = await library.promoteOverlay('id-p4', 'golden');
  assert.match(notes.join('\n'), /machine "p5" keeps its overlay of an older version/);
  assert.equal(await textAt(library.sourceOf('golden'), MIB), 'n');
  assert.deepEqual(
    library.history('golden').overlays.map((o) => [o.machine, o.version, o.behind]),
    [
      ['p4', 2, false],
      ['p5', 1, true],
    ],
  );
  await library.prepareBoot(other, [kept], true);
  assert.equal(await textAt(library.diskOf(other, kept)?.source ?? assert.fail(), MIB), '');
  library.wish('id-p5', 'golden', 'discard', true);
  await library.prepareBoot(other, [kept], true);
  await library.prepareBoot(P4, [kept], true);
  for (const machine of [P4, other])
    assert.equal(await textAt(library.diskOf(machine, kept)?.source ?? assert.fail(), MIB), 'n');
});

test('an overlay that is being promoted: no boot, wish or change of drives takes it away', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const fresh = drive('golden', 'overlay-fresh');
  await library.prepareBoot(P4, [fresh], true);
  await writeAt(library.diskOf(P4, fresh)!.source, MIB, 'p');
  const promotion = library.promoteOverlay(P4.id, 'golden');
  const boot = library.prepareBoot(P4, [fresh], true);
  for (const wish of ['keep', 'discard'] as const) {
    assert.throws(() => library.wish(P4.id, 'golden', wish, false), { code: 'image-busy' });
  }
  library.tidyOverlays(() => false);
  await promotion;
  assert.match((await boot).join(), /the promotion of what machine "p4" wrote is under way/);
  assert.equal(await textAt(library.sourceOf('golden'), MIB), 'p');
  assert.equal(await textAt(library.diskOf(P4, fresh)!.source, MIB), 'p', 'it goes on on that');
  library.tidyOverlays(() => false);
  assert.equal(library.overlays().length, 0, 'the next time it goes');
});

test('a note that is changed while a verb works on the image stays', async (t) => {
  const { library } = bench(t);
  await library.create('golden', blank);
  const verbs = {
    freeze: () => library.freeze('golden'),
    snapshot: () => library.snapshot('o'),
    rollback: () => library.rollback('o'),
    flatten: () => library.flatten('o'),
  };
  for (const [note, verb] of Object.entries(verbs)) {
    const name = note === 'freeze' ? 'golden' : 'o';
    const under = verb();
    library.annotate(name, note);
    await under;
    assert.equal(library.get(name).note, note);
    if (name === 'golden') await library.overlay('golden', 'o');
  }
  await library.overlay('golden', 'p');
  const promotion = library.promote('p');
  library.annotate('golden', 'below');
  library.annotate('p', 'above');
  await promotion;
  assert.deepEqual([library.get('golden').note, library.get('p').note], ['below', 'above']);
});

test('fresh overlays go with their drive, kept ones only when they are discarded', async (t) => {
  const { library, folder } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  await library.create('other', blank);
  await library.freeze('other');
  const drives = [drive('golden', 'overlay-fresh'), drive('other', 'overlay-kept')];
  await library.prepareBoot(P4, drives, true);
  assert.equal(readdirSync(folder).length, 4);
  library.tidyOverlays(() => true);
  assert.equal(library.overlays().length, 2);
  library.tidyOverlays(() => false);
  assert.deepEqual(
    library.overlays().map((o) => o.image),
    ['other'],
  );
  assert.equal(readdirSync(folder).length, 3);
});

test('an overlay of a removed machine is not its namesake’s; a renamed one is named anew', async (t) => {
  const { library, names } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const kept = [drive('golden', 'overlay-kept')];
  for (const id of ['old', 'new', 'other'])
    await library.prepareBoot({ id, name: 'p4' }, kept, true);
  names.set('new', 'p4').set('other', 'p5');
  const told = library.overlays().map(({ machine, gone }) => `${machine} ${gone}`);
  assert.deepEqual(told.sort(), ['p4 false', 'p4 true', 'p5 false']);
  await assert.rejects(library.remove('golden'), /overlay of machine "p5".*image discard MACHINE/s);
  library.wish('p4', 'golden', 'discard', false);
  assert.deepEqual(
    library.overlays().map(({ machine, gone }) => `${machine} ${gone}`),
    ['p4 false', 'p5 false'],
  );
  assert.throws(() => library.wish('p4', 'golden', 'discard', false), { code: 'overlay-unknown' });
  const { notes } = await library.promoteOverlay('new', 'golden');
  assert.match(notes.join(), /machine "p5" keeps .*image discard p5\)/);
});

test('drives that the image does not admit are refused with the way out', async (t) => {
  const { library } = bench(t);
  await library.create('a', blank);
  library.checkAttach('a', 'exclusive');
  library.checkAttach('a', 'shared');
  const refused = (mode: Drive['mode'], code: string): void => {
    assert.throws(
      () => {
        library.checkAttach('a', mode);
      },
      { code },
    );
  };
  refused('overlay-fresh', 'image-not-frozen');
  await library.freeze('a');
  library.checkAttach('a', 'overlay-kept');
  refused('exclusive', 'image-frozen');
});

test('an image that a machine has exclusively cannot become golden', async (t) => {
  const { library, holders } = bench(t);
  await library.create('a', blank);
  holders.set('a', [{ machine: 'p4', mode: 'exclusive', index: 0, once: false }]);
  await assert.rejects(library.freeze('a'), /machine "p4" has it exclusively/);
  holders.clear();
  const freezing = library.freeze('a');
  holders.set('a', [{ machine: 'p5', mode: 'exclusive', index: 0, once: false }]);
  await assert.rejects(freezing, /machine "p5" has it exclusively/, 'given away meanwhile');
  await writeAt(library.sourceOf('a'), MIB, 'w');
});

test('a disk that a machine runs from: asked for, refused with its name, grown under it', async (t) => {
  const it = bench(t);
  const { library } = it;
  await library.create('a', blank);
  const d = drive('a', 'exclusive');
  const seen: string[] = [];
  let users: string[] = [];
  it.live = {
    release: (layers) => {
      const served = library.diskOf(P4, d) === undefined ? 'hidden' : 'served';
      seen.push(`release ${layers.size} ${served}`);
      return Promise.resolve(users);
    },
    restore: () => {
      seen.push(`restore ${library.diskOf(P4, d) === undefined ? 'hidden' : 'served'}`);
      return Promise.resolve();
    },
  };
  await library.snapshot('a');
  assert.deepEqual(seen, ['release 1 hidden', 'restore served']);
  users = ['p4'];
  await assert.rejects(library.rollback('a'), /machine "p4" is running from it/);
  await assert.rejects(library.resize('a', 16 * MIB), { code: 'image-in-use' });
  const grown: unknown[] = [];
  it.live = {
    ...it.live,
    grow: (layer, sizeBytes) => {
      grown.push(layer, sizeBytes);
      return Promise.resolve();
    },
  };
  await library.resize('a', 16 * MIB);
  assert.deepEqual(grown, [library.get('a').head, 16 * MIB]);
  assert.equal(library.get('a').sizeBytes, 16 * MIB);
});

test('a look at an image while a verb works on it gives its disk to nobody', async (t) => {
  const it = bench(t);
  const { library } = it;
  await library.create('a', blank);
  await library.snapshot('a');
  const d = drive('a', 'exclusive');
  const free = Promise.withResolvers<readonly string[]>();
  it.live = { release: () => free.promise, restore: () => Promise.resolve() };
  // A machine that got its disk now would lose what it wrote to it.
  const flattening = library.flatten('a');
  it.live = { ...it.live, release: () => Promise.resolve([]) };
  await library.inspect('a');
  assert.equal(library.diskOf(P4, d), undefined);
  free.resolve([]);
  await flattening;
  assert.ok(library.diskOf(P4, d) !== undefined, 'and then it is served again');
});

test('a snapshot under a running system: its disk is swapped for the layer on top', async (t) => {
  const it = bench(t);
  const { library } = it;
  await library.create('golden', blank);
  await library.freeze('golden');
  await library.overlay('golden', 'o');
  const own = drive('o', 'exclusive');
  const kept = drive('golden', 'overlay-kept');
  await library.prepareBoot(P4, [own, kept], true);
  const served = (d: Drive): string => library.diskOf(P4, d)?.layer ?? 'none';
  const seen: string[] = [];
  it.live = {
    release: () => Promise.resolve(['p4']),
    restore: () => Promise.resolve(),
    hold: async (layer, work) => {
      seen.push(`held ${layer}`);
      try {
        return await work();
      } finally {
        seen.push(`own ${served(own)}, kept ${served(kept)}`);
      }
    },
  };
  const [head, overlay] = [served(own), served(kept)];
  const { notes } = await library.snapshot('o');
  assert.match(notes.at(-1) ?? '', /as a power cut would have left it/);
  const next = library.get('o').head;
  assert.deepEqual(seen, [`held ${head}`, `own ${next}, kept ${overlay}`]);
  assert.notEqual(next, head);
  await library.promoteOverlay('id-p4', 'golden');
  assert.deepEqual(seen.slice(2), [`held ${overlay}`, `own ${next}, kept ${served(kept)}`]);
  assert.equal(library.get('golden').head, overlay);
  await assert.rejects(library.rollback('o'), { code: 'image-in-use' });
  // What fails leaves the disk served as it was.
  t.mock.method(it.repository, 'commit', () => {
    throw new Error('disk full');
  });
  await assert.rejects(library.snapshot('o'), /disk full/);
  assert.deepEqual(seen.slice(4), [`held ${next}`, `own ${next}, kept ${served(kept)}`]);
  assert.equal(library.get('o').head, next);
});

test('one change of a chain at a time; the second is told what is under way (hostile case 41)', async (t) => {
  const { library } = bench(t);
  await library.create('a', blank);
  const first = library.snapshot('a');
  await assert.rejects(library.rollback('a', 1), { code: 'point-unknown' });
  await assert.rejects(library.snapshot('a'), /a snapshot of "a" is under way/);
  await assert.rejects(
    library.flatten('a').then(() => library.remove('a')),
    {
      code: 'image-busy',
    },
  );
  await first;
  await library.snapshot('a');
});

test('machines boot while their golden image is worked on, and a base in use is not swept', async (t) => {
  const { library, repository } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  await library.overlay('golden', 'o');
  await library.promote('o');
  await library.remove('o');
  const drives = [drive('golden', 'overlay-kept')];
  const starts = ['m1', 'm2', 'm3'].map((id) =>
    library.prepareBoot({ id, name: id }, drives, true),
  );
  const [, ...problems] = await Promise.all([library.flatten('golden'), ...starts]);
  assert.deepEqual(problems, [[], [], []]);
  // An overlay on a point that is forgotten while it is made.
  await library.flatten('golden');
  const [made] = await Promise.all([
    library.overlay('golden@1', 'old'),
    library.remove('golden@1'),
  ]);
  assert.equal(await textAt(library.sourceOf(made.image.name), MIB), '');
  for (const layer of repository.layers())
    assert.ok(layer.parent === undefined || repository.layer(layer.parent) !== undefined);
});

test('what was never flushed is not served after the host has started again', async (t) => {
  const { library, repository, open } = bench(t);
  await library.create('golden', blank);
  await library.freeze('golden');
  const fresh = drive('golden', 'overlay-fresh');
  await library.prepareBoot(P4, [fresh], true);
  const [overlay] = repository.overlays();
  assert.ok(overlay !== undefined);
  repository.commit({ putOverlays: [{ ...overlay, hostBoot: 'an earlier one' }] });
  const later = open();
  assert.equal(later.diskOf(P4, fresh), undefined);
  await later.prepareBoot(P4, [fresh], false);
  assert.notEqual(later.diskOf(P4, fresh)?.layer, overlay.layer);
});

test('a chain that would become too deep is refused with the way out', async (t) => {
  const { library } = bench(t);
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  for (let n = 1; n < 32; n += 1) await library.snapshot('a');
  await assert.rejects(library.snapshot('a'), { code: 'chain-long' });
  await library.flatten('a');
  await library.snapshot('a');
});

test('one writer: qemu-img and we keep each other out (hostile cases 42, 43)', async (t) => {
  const { library } = bench(t);
  await library.create('a', blank);
  await library.snapshot('a');
  const { path } = library.get('a');
  const held = await openDisk(library.sourceOf('a'), {}, new BasePool());
  assert.throws(() => execFileSync('qemu-img', ['resize', '-q', path, '+1M'], { stdio: 'pipe' }));
  await assert.rejects(library.snapshot('a'), { code: 'image-in-use' });
  await assert.rejects(library.remove('a'), { code: 'image-in-use' });
  await assert.rejects(openDisk(library.sourceOf('a'), {}, new BasePool()), {
    code: 'image-in-use',
  });
  await answered((done) => {
    held.close(done);
  });
  await library.snapshot('a');
});
