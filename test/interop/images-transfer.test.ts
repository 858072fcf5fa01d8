import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog, systemClock } from '#base/mod.ts';
import { BasePool, answered, openDisk } from '#block/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { need } from '../lab/need.ts';
import { Running } from '../lab/process.ts';

const MIB = 2 ** 20;
const TOOLS = ['qemu-img', 'qemu-io', 'xz', 'zstd', 'gzip', 'prlimit', 'setpriv'];

type Bench = { root: string; folder: string; library: ImageLibrary };

function bench(t: TestContext): Bench | undefined {
  if (!need(t, { tools: TOOLS })) return undefined;
  const root = mkdtempSync(join(tmpdir(), 'polyboot-transfer-'));
  t.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  const folder = join(root, 'library');
  const library = ImageLibrary.open({
    folder,
    cacheFolder: join(root, 'cache'),
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  return { root, folder, library };
}

const qemuImg = (...args: string[]): string =>
  execFileSync('qemu-img', args, { encoding: 'utf8', stdio: 'pipe' });

/** A raw disk of 8 MiB with a pattern at its start, its middle and its end. */
function rawDisk(root: string): string {
  const path = join(root, 'disk.img');
  const bytes = Buffer.alloc(8 * MIB);
  bytes.fill('start', 0, 70_000);
  bytes.fill('middle', 4 * MIB + 512, 5 * MIB);
  bytes.fill('end', 8 * MIB - 1000);
  writeFileSync(path, bytes);
  return path;
}

const FORMATS = [
  ['qcow2', 'qcow2', []],
  ['vmdk', 'vmdk', []],
  ['vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']],
  ['vhd', 'vpc', ['-o', 'force_size=on']],
  ['vhd', 'vpc', ['-o', 'subformat=fixed,force_size=on']],
  ['vhdx', 'vhdx', []],
  ['vdi', 'vdi', []],
  ['qcow2', 'qcow2', ['-c', '-o', 'compression_type=zstd']],
] as const;

test('import: every kind that qemu-img makes comes in byte for byte', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  const raw = rawDisk(root);
  const names: string[] = [];
  for (const [ending, format, options] of FORMATS) {
    const path = join(root, `d${names.length}.${ending}`);
    qemuImg('convert', '-f', 'raw', '-O', format, ...options, raw, path);
    const image = await library.import(path);
    names.push(image.name);
    assert.equal(image.kind, 'raw');
    qemuImg('compare', '-f', 'raw', '-F', 'raw', raw, image.path);
    assert.ok(statSync(image.path).blocks * 512 < 4 * MIB, `${path}: holes stay holes`);
  }
  assert.equal(readdirSync(folder).length, names.length, 'nothing else is left');
});

test('import: packed files are unpacked, with holes', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  const raw = rawDisk(root);
  const qcow2 = join(root, 'q.qcow2');
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2);
  execFileSync('gzip', ['-k', raw]);
  execFileSync('xz', ['-k', raw]);
  execFileSync('zstd', ['-q', raw]);
  execFileSync('xz', ['-k', qcow2]);
  for (const path of [`${raw}.gz`, `${raw}.xz`, `${raw}.zst`, `${qcow2}.xz`]) {
    const name = `n-${path.replace(/.*\./, '')}-${path.includes('qcow2') ? 'q' : 'r'}`;
    const image = await library.import(path, { name });
    qemuImg('compare', '-f', 'raw', '-F', 'raw', raw, image.path);
    assert.ok(statSync(image.path).blocks * 512 < 4 * MIB, path);
  }
  for (const [ending, damage] of [
    ['gz', (bytes: Buffer) => bytes.fill(0xaa, bytes.length >> 1)],
    ['zst', (bytes: Buffer) => bytes.subarray(0, bytes.length - 9)],
    ['xz', (bytes: Buffer) => bytes.fill(0xaa, bytes.length >> 1)],
  ] as const) {
    const path = join(root, `broken.img.${ending}`);
    writeFileSync(path, damage(readFileSync(`${raw}.${ending}`)));
    await assert.rejects(library.import(path), { code: 'packed-wrong' }, ending);
  }
  // Frames are packed one after the other; a damaged one is not the end of the disk.
  const frame = readFileSync(`${raw}.zst`);
  const two = join(root, 'two.img.zst');
  writeFileSync(two, Buffer.concat([frame, frame]));
  assert.equal((await library.import(two)).sizeBytes, 16 * MIB);
  await library.remove('two');
  writeFileSync(two, Buffer.concat([frame, Buffer.from([0]), frame.subarray(1)]));
  await assert.rejects(library.import(two), { code: 'packed-wrong' });
  assert.equal(readdirSync(folder).length, 4);
});

test('import: a file that was not copied completely is refused, not filled up with zeros', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  const raw = join(root, 'full.img');
  writeFileSync(raw, Buffer.alloc(8 * MIB, 'full'));
  for (const [ending, format, options] of FORMATS) {
    for (const cutBytes of [70_000, 3 * MIB]) {
      const path = join(root, `cut-${cutBytes}.${ending}`);
      rmSync(path, { force: true });
      qemuImg('convert', '-f', 'raw', '-O', format, ...options, raw, path);
      // Packed as this pattern is, a part of the file stays what it is of the disk.
      const { size } = statSync(path);
      truncateSync(path, size > 4 * MIB ? size - cutBytes : Math.floor(size / 2));
      await assert.rejects(library.import(path), `${ending} ${options.join(' ')} less ${cutBytes}`);
    }
  }
  assert.deepEqual([library.list(), readdirSync(folder)], [[], []]);
});

test('import: what would open another file is refused unopened (hostile case 35)', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  const base = join(root, 'secret.img');
  writeFileSync(base, Buffer.alloc(MIB, 's'));
  const refused = async (path: string, code: string, format?: 'vmdk' | 'qcow2'): Promise<void> => {
    await assert.rejects(
      library.import(path, format === undefined ? {} : { format }),
      { code },
      path,
    );
  };
  const backed = (name: string, ...args: string[]): string => {
    const path = join(root, name);
    qemuImg('create', '-q', '-u', ...args, path, '1M');
    return path;
  };
  const names = [
    '/etc/shadow',
    `json:{"driver":"raw","file":{"driver":"file","filename":"${base}"}}`,
  ];
  for (const [n, file] of [...names, 'nbd://127.0.0.1:1/x', 'https://127.0.0.1:1/x'].entries())
    await refused(backed(`b${n}.qcow2`, '-f', 'qcow2', '-b', file, '-F', 'raw'), 'foreign-parts');
  await refused(
    backed('data.qcow2', '-f', 'qcow2', '-o', `data_file=${join(root, 'data')}`),
    'foreign-parts',
  );
  const parent = join(root, 'parent.vmdk');
  qemuImg('create', '-q', '-f', 'vmdk', parent, '1M');
  await refused(backed('child.vmdk', '-f', 'vmdk', '-b', parent, '-F', 'vmdk'), 'foreign-parts');
  const flat = join(root, 'flat.vmdk');
  const extent = `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2048 FLAT "${base}" 0\n`;
  writeFileSync(flat, extent);
  await refused(flat, 'foreign-parts');
  // A descriptor within a sparse header that has no capacity.
  const hidden = Buffer.alloc(64 * 1024);
  hidden.write('KDMV', 0, 'latin1');
  hidden.writeUInt32LE(1, 4);
  hidden.writeBigUInt64LE(1n, 28);
  hidden.writeBigUInt64LE(20n, 36);
  hidden.write(extent, 512, 'latin1');
  writeFileSync(join(root, 'hidden.vmdk'), hidden);
  await refused(join(root, 'hidden.vmdk'), 'foreign-parts');
  // A sound descriptor where the header points to, and another where QEMU looks for the parent.
  const twofold = readFileSync(parent);
  const sound = Buffer.from(twofold.subarray(512, 512 + 20 * 512));
  const elsewhere = Buffer.alloc(64 * 1024);
  sound.copy(elsewhere);
  const moved = Buffer.concat([twofold, elsewhere]);
  moved.writeBigUInt64LE(BigInt(twofold.length / 512), 28);
  moved.fill(0, 512, 512 + 20 * 512);
  moved.write(`parentFileNameHint="${base}"\n`, 512, 'latin1');
  writeFileSync(join(root, 'twofold.vmdk'), moved);
  await refused(join(root, 'twofold.vmdk'), 'foreign-parts');
  const vhd = join(root, 'diff.vhd');
  qemuImg('create', '-q', '-f', 'vpc', vhd, '8M');
  const bytes = readFileSync(vhd);
  bytes.writeUInt32BE(4, 60);
  writeFileSync(vhd, bytes);
  await refused(vhd, 'foreign-parts');
  // Formats are never probed: a raw disk that says it is qcow2 stays raw, and the reverse fails.
  const liar = join(root, 'liar.img');
  const guest = Buffer.alloc(MIB);
  readFileSync(join(root, 'b0.qcow2')).copy(guest);
  writeFileSync(liar, guest);
  const image = await library.import(liar);
  assert.equal(image.kind, 'raw');
  assert.ok(readFileSync(image.path).equals(guest));
  await library.remove('liar');
  await refused(liar, 'foreign-parts', 'vmdk');
  await refused(join(root, 'nothing.img'), 'path-missing');
  await refused(root, 'path-kind');
  writeFileSync(join(root, 'what'), 'x');
  await refused(join(root, 'what'), 'format-unknown');
  assert.deepEqual(readdirSync(folder), []);
});

test('import: a vmdk is not opened by what its name looks like', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, library } = it;
  const odd = join(root, 'json:{},file.driver=nbd');
  mkdirSync(odd);
  const path = join(odd, 'nbd:x,y.vmdk');
  const raw = rawDisk(root);
  const plain = join(root, 'plain.vmdk');
  qemuImg('convert', '-f', 'raw', '-O', 'vmdk', raw, plain);
  writeFileSync(path, readFileSync(plain));
  const image = await library.import(path, { name: 'odd' });
  qemuImg('compare', '-f', 'raw', '-F', 'raw', raw, image.path);
});

test('import: cancelled, nothing is left', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  const raw = rawDisk(root);
  const vmdk = join(root, 'd.vmdk');
  qemuImg('convert', '-f', 'raw', '-O', 'vmdk', raw, vmdk);
  execFileSync('gzip', ['-k', raw]);
  for (const path of [raw, vmdk, `${raw}.gz`]) {
    const abort = new AbortController();
    const work = {
      signal: abort.signal,
      progress: () => {
        abort.abort(new Error('enough'));
      },
    };
    await assert.rejects(library.import(path, {}, work), /enough/, path);
    assert.deepEqual(readdirSync(folder), [], path);
  }
});

test('export and flatten: cancelled, nothing is left and nothing is lost', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, folder, library } = it;
  await library.import(rawDisk(root), { name: 'a' });
  await library.snapshot('a');
  const before = [library.list(), readdirSync(folder).sort(), readdirSync(root).sort()];
  const work = (): { signal: AbortSignal; progress: () => void } => {
    const abort = new AbortController();
    return {
      signal: abort.signal,
      progress: () => {
        abort.abort(new Error('enough'));
      },
    };
  };
  for (const name of ['x.img', 'x.qcow2', 'x.vmdk', 'x.img.gz', 'x.qcow2.zst'])
    await assert.rejects(library.export('a', join(root, name), {}, work()), /enough/, name);
  await assert.rejects(library.flatten('a', work()), /enough/);
  await assert.rejects(library.clone('a', 'b', work()), /enough/);
  assert.deepEqual([library.list(), readdirSync(folder).sort(), readdirSync(root).sort()], before);
});

test('export: a chain goes out as one file of any kind, and packed', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, library } = it;
  await library.import(rawDisk(root), { name: 'a' });
  await library.snapshot('a');
  const head = library.get('a').path;
  const chain = `driver=qcow2,file.driver=file,file.filename=${head},backing.driver=raw,backing.file.driver=file,backing.file.filename=${it.folder}/a.img`;
  execFileSync('qemu-io', ['--image-opts', chain, '-c', 'write -P 0x41 1M 64k'], { stdio: 'pipe' });
  const whole = join(root, 'whole.img');
  await library.export('a', whole);
  const bytes = readFileSync(whole);
  assert.deepEqual([bytes[MIB], bytes[0], bytes.length], [0x41, 's'.charCodeAt(0), 8 * MIB]);
  for (const [ending, format] of FORMATS.map(([e, f]) => [e, f] as const)) {
    const path = join(root, `out-${ending}.${ending}`);
    rmSync(path, { force: true });
    await library.export('a', path);
    qemuImg('compare', '-f', 'raw', '-F', format, whole, path);
    if (format === 'qcow2') qemuImg('check', '-q', '-f', 'qcow2', path);
  }
  await library.export('a', `${whole}.gz`);
  await library.export('a', `${whole}.zst`);
  await library.export('a@1', join(root, 'point.qcow2.zst'));
  assert.ok(execFileSync('gzip', ['-dc', `${whole}.gz`], { maxBuffer: 16 * MIB }).equals(bytes));
  assert.ok(execFileSync('zstd', ['-dcq', `${whole}.zst`], { maxBuffer: 16 * MIB }).equals(bytes));
  execFileSync('zstd', ['-dq', join(root, 'point.qcow2.zst')]);
  const point = join(root, 'point.qcow2');
  qemuImg('compare', '-f', 'raw', '-F', 'qcow2', join(root, 'disk.img'), point);
  await assert.rejects(library.export('a', whole), { code: 'file-in-the-way' });
  await assert.rejects(library.export('a', join(root, 'x.img.xz')), { code: 'format-unsupported' });
  const left = readdirSync(root).filter(
    (name) => name.startsWith('.') || name.endsWith('unpacked'),
  );
  assert.deepEqual(left, []);
});

test('export: packed is the disk, not the file; never while somebody writes it', async (t) => {
  const it = bench(t);
  if (it === undefined) return;
  const { root, library } = it;
  const raw = rawDisk(root);
  const used = join(root, 'used.qcow2');
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', raw, used);
  await library.add(used);
  const packed = join(root, 'used.img.gz');
  await library.export('used', packed);
  const bytes = execFileSync('gzip', ['-dc', packed], { maxBuffer: 16 * MIB });
  assert.ok(bytes.equals(readFileSync(raw)));
  await library.add(raw);
  const writer = await openDisk(library.sourceOf('disk'), {}, new BasePool());
  await assert.rejects(library.export('disk', join(root, 'd.img.zst')), { code: 'image-in-use' });
  await answered((done) => {
    writer.close(done);
  });
  await library.export('disk', join(root, 'd.img.zst'));
});

test('an NBD export is used where it is: read, written, copied', async (t) => {
  const it = bench(t);
  if (it === undefined || !need(t, { tools: ['qemu-nbd'] })) return;
  const { root, library } = it;
  const raw = rawDisk(root);
  const [socket, pidFile] = [join(root, 'nbd.sock'), join(root, 'nbd.pid')];
  const args = ['--fork', '--pid-file', pidFile, '-t', '-x', 'pc7', '-k', socket, '-f', 'raw'];
  execFileSync('qemu-nbd', [...args, raw]);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  t.after(() => {
    process.kill(pid, 'SIGTERM');
  });
  const image = await library.add(`nbd+unix:///pc7?socket=${socket}`, { name: 'pc7' });
  assert.deepEqual([image.kind, image.sizeBytes, image.owned], ['nbd', 8 * MIB, false]);
  assert.equal(library.show('pc7').present, true);
  assert.equal((await library.inspect('pc7')).sizeBytes, 8 * MIB);
  assert.deepEqual(
    (await library.check('pc7')).problems.map((p) => p.severity).includes('error'),
    false,
  );
  const copy = await library.clone('pc7', 'copy');
  assert.ok(readFileSync(copy.path).equals(readFileSync(raw)));
  await assert.rejects(library.freeze('pc7'), { code: 'image-kind' });
  await assert.rejects(library.resize('pc7', 16 * MIB), { code: 'image-kind' });
  await library.remove('pc7');
  await assert.rejects(library.add(`nbd+unix:///none?socket=${socket}`));
});

test('export by QEMU has what a killed server answered last', async (t) => {
  const b = bench(t);
  if (b === undefined) return;
  if (!need(t, { files: ['/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so'] })) return;
  await b.library.import(rawDisk(b.root), { name: 'a' });
  await b.library.snapshot('a');
  const disk = b.library.sourceOf('a');
  assert.ok(disk.kind === 'qcow2' && disk.backing?.kind === 'raw');
  const main = join(import.meta.dirname, '../../src/main.ts');
  const args = ['export', disk.path, '--format', 'qcow2', '--backing', disk.backing.path];
  const server = new Running(process.execPath, [main, ...args, '--port', '0']);
  t.after(() => server.stop('SIGKILL'));
  const [url] = await server.waitFor(/^iscsi:.*$/m);
  // Not its default, which flushes after each write.
  const user = new Running('qemu-io', ['-t', 'writeback', '-f', 'raw', url]);
  t.after(() => user.stop('SIGKILL'));
  user.child.stdin?.write('write -P 0x55 1M 64k\n');
  await user.waitFor(/wrote 65536/);
  // Killed before anybody flushed: the write is in the page cache and in the image's journal.
  await server.stop('SIGKILL');
  const out = join(b.root, 'a.vmdk');
  await b.library.export('a', out);
  const said = execFileSync('qemu-io', ['-f', 'vmdk', '-r', '-c', 'read -P 0x55 1M 64k', out]);
  assert.doesNotMatch(said.toString(), /verification failed/);
});
