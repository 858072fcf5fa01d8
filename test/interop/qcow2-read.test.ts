/** Images that qemu-img makes with every option and qemu-io fills, read by us. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openQcow2, openRaw, readQcow2Info } from '#block/mod.ts';
import type { BlockDevice, Qcow2Options } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { closed, contents, home, qemuIo, toRaw } from './qcow2-kit.ts';

const TOOLS = ['qemu-img', 'qemu-io'];
/** Writes in all sizes, at all alignments, zeros and discards among them. */
const FILL: readonly string[] = [
  'write -P 0x11 0 64k',
  'write -P 0x22 100k 3k',
  'write -P 0x33 1M 1M',
  'write -P 0x44 2560512 512',
  'write -z 1100k 300k',
  'write -P 0x55 3M 700k',
  'discard 3200k 128k',
  'write -P 0x66 7340032 1048576',
];

const OPTIONS: readonly string[] = [
  'compat=0.10',
  'compat=1.1',
  'cluster_size=512',
  'cluster_size=2M',
  'cluster_size=4k,refcount_bits=1',
  'refcount_bits=2',
  'refcount_bits=8',
  'refcount_bits=64',
  'lazy_refcounts=on',
  'extended_l2=on,cluster_size=128k',
  'extended_l2=on,cluster_size=16k',
  'preallocation=metadata',
  'preallocation=falloc',
  'preallocation=full',
  'preallocation=metadata,extended_l2=on',
];

async function same(image: string, raw: string, options: Qcow2Options = {}): Promise<void> {
  const device = await openQcow2(image, { readOnly: true, ...options });
  try {
    assert.ok((await contents(device)).equals(readFileSync(raw)), `${image} reads as for QEMU`);
  } finally {
    await closed(device);
  }
}

for (const options of OPTIONS) {
  test(`qcow2_read an image made with ${options}`, async (t) => {
    if (!need(t, { tools: TOOLS })) return;
    const image = join(home(t), 'a.qcow2');
    await run('qemu-img', ['create', '-f', 'qcow2', '-o', options, image, '8M']);
    await qemuIo(image, FILL);
    await toRaw(image, `${image}.raw`);
    await same(image, `${image}.raw`);
  });
}

for (const type of ['zlib', 'zstd']) {
  for (const cluster of ['4k', '64k', '2M']) {
    test(`qcow2_read compressed clusters, ${type}, ${cluster}`, async (t) => {
      if (!need(t, { tools: TOOLS })) return;
      const folder = home(t);
      const [raw, image] = [join(folder, 'a.raw'), join(folder, 'a.qcow2')];
      await run('qemu-img', ['create', '-f', 'raw', raw, '8M']);
      await qemuIo(raw, FILL.slice(0, 5), 'raw');
      const options = `compression_type=${type},cluster_size=${cluster}`;
      const convert = ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, raw, image];
      await run('qemu-img', convert);
      await same(image, raw);
      assert.equal((await readQcow2Info(image)).compression, type);
    });
  }
}

test('qcow2_read a chain of three, each larger than the one below', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  const [base, middle, top] = ['base.raw', 'middle.qcow2', 'top.qcow2'].map((n) => join(folder, n));
  assert.ok(base !== undefined && middle !== undefined && top !== undefined);
  await run('qemu-img', ['create', '-f', 'raw', base, '5M']);
  await qemuIo(base, ['write -P 0xaa 0 5M'], 'raw');
  await run('qemu-img', ['create', '-f', 'qcow2', '-b', base, '-F', 'raw', middle, '6M']);
  await qemuIo(middle, ['write -P 0xbb 1M 300k', 'write -P 0xbc 5M 512k', 'write -z 2M 64k']);
  const over = ['-o', 'extended_l2=on', '-b', middle, '-F', 'qcow2'];
  await run('qemu-img', ['create', '-f', 'qcow2', ...over, top, '8M']);
  await qemuIo(top, ['write -P 0xcc 1100k 4k', 'write -P 0xcd 7M 1k', 'write -z 4M 12k']);
  await toRaw(top, `${top}.raw`);
  const below: BlockDevice = await openRaw(base, { readOnly: true });
  const backing = await openQcow2(middle, { readOnly: true, backing: below, ownsBacking: true });
  await same(top, `${top}.raw`, { backing, ownsBacking: true });
  const info = await readQcow2Info(top);
  assert.deepEqual(info.backing, { file: middle, format: 'qcow2' });
});

test('qcow2_read snapshots that qemu-img took', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await run('qemu-img', ['create', '-f', 'qcow2', image, '8M']);
  const states: Buffer[] = [];
  for (const [n, fill] of ['0x10', '0x20', '0x30'].entries()) {
    await qemuIo(image, [`write -P ${fill} ${n}M 1500k`, `write -P ${fill} 6M 4k`]);
    await toRaw(image, `${image}.raw`);
    states.push(readFileSync(`${image}.raw`));
    await run('qemu-img', ['snapshot', '-c', `state ${n}`, image]);
  }
  await qemuIo(image, ['write -P 0x40 0 8M']);
  const device = await openQcow2(image);
  assert.deepEqual(
    device.snapshots().map((s) => [s.id, s.name, s.sizeBytes]),
    [0, 1, 2].map((n) => [String(n + 1), `state ${n}`, 8 * 1024 * 1024]),
  );
  for (const n of [1, 0, 2]) {
    await device.applySnapshot(String(n + 1));
    assert.ok((await contents(device)).equals(states[n] ?? Buffer.alloc(0)), `state ${n}`);
  }
  await closed(device);
  const checked = await run('qemu-img', ['check', image]);
  assert.match(checked, /No errors/);
});
