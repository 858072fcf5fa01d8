import assert from 'node:assert/strict';
import fs, { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock, silentLog } from '#base/mod.ts';
import { DiskFile, ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { lockImage } from '#os/mod.ts';

const MIB = 2 ** 20;

type Bench = {
  readonly root: string;
  readonly folder: string;
  readonly repository: MemoryImageRepository;
  readonly users: Map<string, string[]>;
  readonly open: () => ImageLibrary;
};

function bench(t: TestContext): Bench {
  const root = mkdtempSync(join(tmpdir(), 'polyboot-images-'));
  t.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  const repository = new MemoryImageRepository();
  const users = new Map<string, string[]>();
  const folder = join(root, 'library');
  const open = (): ImageLibrary =>
    ImageLibrary.open({
      folder,
      cacheFolder: join(root, 'cache'),
      repository,
      clock: new FakeClock(),
      log: silentLog,
      usersOf: (name) => users.get(name) ?? [],
    });
  return { root, folder, repository, users, open };
}

function fileOf(root: string, name: string, sizeBytes: number): string {
  const path = join(root, name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

test('create: a DOS disk that inspect finds good, owned, in the folder', async (t) => {
  const { folder, open } = bench(t);
  const library = open();
  const image = await library.create('dos1', {
    preset: 'dos',
    sizeBytes: 504 * MIB,
    note: 'games',
  });
  const { head, ...facts } = image;
  assert.match(head, /^[0-9a-f]{10}$/);
  assert.deepEqual(facts, {
    name: 'dos1',
    frozen: false,
    lastPoint: 0,
    kind: 'raw',
    path: join(folder, 'dos1.img'),
    sizeBytes: 504 * MIB,
    blockBytes: 512,
    owned: true,
    source: 'preset dos',
    createdAtMs: new FakeClock().wallMs(),
    note: 'games',
  });
  assert.deepEqual((await library.inspect('dos1')).warnings, []);
  assert.deepEqual(readdirSync(folder), ['dos1.img']);
  const details = library.show('dos1');
  assert.ok((details.allocatedBytes ?? Infinity) < MIB, 'only what is not zero is written');
  assert.equal(statSync(image.path).mode & 0o777, 0o600);
});

test('export: a folder that is not there, or is none, is the caller’s, and no file is left', async (t) => {
  const { root, folder, open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  for (const path of [join(root, 'no/such/a.img'), join(fileOf(root, 'file', 0), 'a.img')])
    await assert.rejects(library.export('a', path), { code: 'no-such-folder', kind: 'not-found' });
  const kernel = '/proc/sys/a.img';
  await assert.rejects(library.export('a', kernel), { code: 'folder-not-writable' });
  assert.deepEqual(readdirSync(folder), ['a.img']);
});

test('only an ISO is one', async (t) => {
  const { open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  assert.throws(() => {
    library.checkIso('a');
  }, /cannot be booted as an ISO.*raw, a disk.*--drive a/s);
  assert.throws(() => library.checkIso('b'), { code: 'image-unknown' });
});

test('names: taken, malformed, and a foreign file in the way are refused', async (t) => {
  const { folder, open } = bench(t);
  const library = open();
  const gpt = { preset: 'gpt', sizeBytes: MIB } as const;
  await library.create('a', gpt);
  await assert.rejects(library.create('a', gpt), { code: 'image-exists' });
  for (const name of ['', '-x', 'A', '../x', 'a/b', '.x', 'x'.repeat(65), 'ä']) {
    await assert.rejects(library.create(name, gpt), { code: 'image-name' });
  }
  fileOf(folder, 'mine.img', 1000);
  await assert.rejects(library.create('mine', gpt), { code: 'file-in-the-way' });
  assert.equal(statSync(join(folder, 'mine.img')).size, 1000);
});

test('add: a raw file is used in place, named after itself, and never deleted', async (t) => {
  const { root, open } = bench(t);
  const library = open();
  const path = fileOf(root, 'Win 98.img', MIB + 100);
  const image = await library.add(path);
  assert.deepEqual([image.name, image.kind, image.owned], ['win-98', 'raw', false]);
  assert.equal(image.sizeBytes, MIB);
  symlinkSync(path, join(root, 'alias.img'));
  await assert.rejects(library.add(join(root, 'alias.img')), { code: 'image-exists' });
  await library.remove('win-98');
  assert.ok(existsSync(path));
  assert.deepEqual(library.list(), []);
});

test('add: what cannot be used is refused with the reason', async (t) => {
  const { root, open } = bench(t);
  const library = open();
  const refused: readonly [string, number, string][] = [
    ['a.qcow2', MIB, 'qcow2-invalid'],
    ['a.VMDK', MIB, 'format-unsupported'],
    ['a.img.gz', MIB, 'format-unsupported'],
    ['a.iso', MIB, 'not-iso'],
    ['a.img', 100, 'too-small'],
  ];
  for (const [name, size, code] of refused) {
    await assert.rejects(library.add(fileOf(root, name, size)), { code }, name);
  }
  await assert.rejects(library.add(join(root, 'none.img')), { code: 'path-missing' });
  await assert.rejects(library.add(root), { code: 'path-kind' });
  await assert.rejects(library.add('/dev/null'), { code: 'path-kind' });
});

test('add: a raw disk that begins like a qcow2 file stays raw (formats are never probed)', async (t) => {
  const { root, open } = bench(t);
  const path = fileOf(root, 'guest.img', MIB);
  writeFileSync(path, 'QFI\u00fb', { flag: 'r+', encoding: 'latin1' });
  assert.equal((await open().add(path)).kind, 'raw');
});

test('add: an ISO is known by name and content', async (t) => {
  const { root, open } = bench(t);
  const path = fileOf(root, 'cd.iso', 100 * 2048 + 7);
  const disk = DiskFile.open(path, 'write');
  disk.write(16 * 2048, Buffer.from('\u0001CD001'));
  disk.close();
  const image = await open().add(path);
  assert.deepEqual([image.kind, image.blockBytes, image.sizeBytes], ['iso', 2048, 100 * 2048]);
});

test('clone: same bytes, holes stay holes, the source is not changed', async (t) => {
  const { root, open } = bench(t);
  const library = open();
  const path = fileOf(root, 'src.img', 40 * MIB);
  const disk = DiskFile.open(path, 'write');
  disk.write(5 * MIB + 3, Buffer.alloc(200_000, 'x'));
  disk.write(39 * MIB, Buffer.alloc(MIB, 'y'));
  disk.write(20 * MIB, new Uint8Array(4 * MIB)); // zeros that take space
  disk.close();
  await library.add(path);
  const steps: number[] = [];
  const image = await library.clone('src', 'copy', {
    progress: (p) => steps.push(p.doneBytes ?? 0),
  });
  assert.equal(image.source, 'clone of src');
  assert.equal(image.sizeBytes, 40 * MIB);
  const bytes = (p: string): Uint8Array => {
    const d = DiskFile.open(p);
    const all = d.read(0, d.sizeBytes);
    d.close();
    return all;
  };
  assert.ok(Buffer.from(bytes(image.path)).equals(bytes(path)));
  const { allocatedBytes } = library.show('copy');
  assert.ok((allocatedBytes ?? 0) <= (library.show('src').allocatedBytes ?? 0));
  if (steps.length > 0) assert.equal(steps.at(-1), 40 * MIB);
});

test('clone: refused while the source is written, with the holder named', async (t) => {
  const { folder, open } = bench(t);
  const library = open();
  const { path } = await library.create('busy', { preset: 'gpt', sizeBytes: MIB });
  const holder = DiskFile.open(path, 'write');
  lockImage(holder.fd, 'exclusive');
  await assert.rejects(library.clone('busy', 'copy'), { code: 'image-in-use' });
  await assert.rejects(library.remove('busy'), { code: 'image-in-use' });
  holder.close();
  await library.clone('busy', 'copy');
  assert.deepEqual(readdirSync(folder).sort(), ['busy.img', 'copy.img']);
});

test('clone: cancelled leaves nothing, whether blocks are shared or copied', async (t) => {
  const { folder, open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'dos', sizeBytes: 10 * MIB });
  const signal = AbortSignal.abort(new Error('enough'));
  await assert.rejects(library.clone('a', 'copy', { signal }), /enough/);
  assert.deepEqual(readdirSync(folder), ['a.img']);
  assert.equal(library.list().length, 1);
});

test('clone: one name cannot be made twice at once', async (t) => {
  const { open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  const first = library.clone('a', 'b');
  await assert.rejects(library.clone('a', 'b'), { code: 'image-busy' });
  await first;
});

test('rm: refused while used, says by whom; then file and record are gone', async (t) => {
  const { folder, users, open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  users.set('a', ['machine pc1', 'machine pc2']);
  await assert.rejects(library.remove('a'), /it is used by machine pc1, machine pc2/);
  users.clear();
  await library.remove('a');
  assert.deepEqual(readdirSync(folder), []);
  assert.throws(() => library.get('a'), { code: 'image-unknown' });
});

test('rm: an image whose file is gone already can be removed', async (t) => {
  const { open } = bench(t);
  const library = open();
  rmSync((await library.create('a', { preset: 'gpt', sizeBytes: MIB })).path);
  assert.equal(library.show('a').present, false);
  await library.remove('a');
  assert.deepEqual(library.list(), []);
});

test('annotate changes and removes the note', async (t) => {
  const library = bench(t).open();
  await library.create('a', { preset: 'gpt', sizeBytes: MIB });
  assert.equal(library.annotate('a', 'hello').note, 'hello');
  assert.ok(!('note' in library.annotate('a', undefined)));
});

// The states in which a kill -9 can leave the folder (table in library-folder.ts).
test('recovery: every state that a kill can leave ends with all or nothing', async (t) => {
  const { folder, repository, open } = bench(t);
  const library = open();
  for (const name of ['unlinked', 'linked', 'done']) {
    await library.create(name, { preset: 'gpt', sizeBytes: MIB });
  }
  const partial = (name: string): string => join(folder, `.${name}.partial`);
  // Killed while writing: a partial file, no record.
  fileOf(folder, '.half.partial', 5000);
  // Killed after the record, before the name (or in a removal, before the record went).
  copyFileSync(join(folder, 'unlinked.img'), partial('unlinked'));
  rmSync(join(folder, 'unlinked.img'));
  // Killed between name and unlink.
  copyFileSync(join(folder, 'linked.img'), partial('linked'));
  // Killed in a removal after the record went.
  repository.commit({ removeImages: ['done'], removeLayers: [library.get('done').head] });
  copyFileSync(join(folder, 'done.img'), partial('done'));
  rmSync(join(folder, 'done.img'));
  // Not ours: left alone.
  fileOf(folder, 'foreign.img', 10);
  fileOf(folder, '.hidden', 10);

  const again = open();
  assert.deepEqual(readdirSync(folder).sort(), [
    '.hidden',
    'foreign.img',
    'linked.img',
    'unlinked.img',
  ]);
  assert.deepEqual(
    again.list().map((i) => i.name),
    ['linked', 'unlinked'],
  );
  assert.deepEqual((await again.inspect('unlinked')).warnings, []);
});

test('recovery: the partial file of a living process is left alone', async (t) => {
  const { folder, open } = bench(t);
  open();
  const disk = DiskFile.open(fileOf(folder, '.other.partial', 5000), 'write');
  lockImage(disk.fd, 'exclusive');
  open();
  assert.ok(existsSync(join(folder, '.other.partial')));
  disk.close();
  open();
  assert.deepEqual(readdirSync(folder), []);
});

test('a file that comes in the way meanwhile is not replaced, on disks without hard links too', async (t) => {
  const { root, open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: 2 * MIB });
  for (const links of [true, false]) {
    if (!links) {
      const { mock } = t.mock.method(fs, 'linkSync', () => {
        throw Object.assign(new Error('no links here'), { code: 'EPERM' });
      });
      t.after(() => {
        mock.restore();
        syncBuiltinESMExports();
      });
      syncBuiltinESMExports();
    }
    const path = join(root, `out-${links}.img`);
    const exporting = library.export('a', path);
    writeFileSync(path, 'mine');
    await assert.rejects(exporting, { code: 'file-in-the-way' });
    const image = join(root, 'library', `b-${links}.img`);
    const cloning = library.clone('a', `b-${links}`);
    writeFileSync(image, 'mine');
    await assert.rejects(cloning, { code: 'file-in-the-way' });
    assert.deepEqual(
      [path, image].map((file) => readFileSync(file, 'utf8')),
      ['mine', 'mine'],
    );
    assert.ok(!library.has(`b-${links}`));
    assert.ok(!readdirSync(root).some((name) => name.startsWith('.')));
  }
  await library.export('a', join(root, 'free.img'));
  await library.clone('a', 'c');
});

test('a symbolic link that leads nowhere is in the way, too', async (t) => {
  const { root, open } = bench(t);
  const library = open();
  await library.create('a', { preset: 'gpt', sizeBytes: 2 * MIB });
  const path = join(root, 'out.img');
  symlinkSync(join(root, 'not-mounted/out.img'), path);
  await assert.rejects(library.export('a', path), { code: 'file-in-the-way' });
  symlinkSync(join(root, 'not-mounted/b.img'), join(root, 'library', 'b.img'));
  await assert.rejects(library.clone('a', 'b'), { code: 'file-in-the-way' });
});

test('create: a failing repository leaves no file', async (t) => {
  const { folder, repository, open } = bench(t);
  const library = open();
  t.mock.method(repository, 'commit', () => {
    throw new Error('disk full');
  });
  await assert.rejects(library.create('a', { preset: 'gpt', sizeBytes: MIB }), /disk full/);
  assert.deepEqual(readdirSync(folder), []);
});
