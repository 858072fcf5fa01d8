/** Images that we write, judged by qemu-img: sound to the last cluster, and the same bytes. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { UserError } from '#base/mod.ts';
import { createQcow2, openQcow2, openRaw, readQcow2Info } from '#block/mod.ts';
import type { BlockDevice, Qcow2CreateOptions } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';
import { asked, closed, contents, failing, home, qemuChecks, qemuIo, toRaw } from './qcow2-kit.ts';

const TOOLS = ['qemu-img', 'qemu-io'];
const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 6 * MIB;
const BASE_BYTES = 5 * MIB;

type Step = {
  readonly kind: 'write' | 'discard' | 'zero' | 'flush' | 'reopen';
  readonly at: number;
  readonly blocks: number;
  readonly fill: number;
};

const steps = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom('write', 'write', 'write', 'discard', 'zero', 'flush', 'reopen'),
    at: fc.nat(SIZE_BYTES / 512 - 1),
    blocks: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 2000 })),
    fill: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 5, maxLength: 40 },
);

/** What a step does to the disk, and to the buffer that says what must be there. */
async function perform(device: BlockDevice, oracle: Buffer, step: Step): Promise<void> {
  const offset = step.at * 512;
  const length = Math.min(step.blocks * 512, SIZE_BYTES - offset);
  if (step.kind === 'write') {
    const bytes = Buffer.alloc(length, step.fill);
    bytes.copy(oracle, offset);
    if (step.fill % 2 === 0 && device.tryWrite(offset, bytes, 0, length)) return;
    await asked((done) => {
      device.write(offset, bytes, 0, length, done);
    });
  } else if (step.kind === 'flush') {
    await asked((done) => {
      device.flush(done);
    });
  } else {
    oracle.fill(0, offset, offset + length);
    await asked((done) => {
      device[step.kind === 'zero' ? 'writeZeroes' : 'discard'](offset, length, done);
    });
  }
}

const SHAPES: Readonly<Record<string, Omit<Qcow2CreateOptions, 'sizeBytes'>>> = {
  plain: {},
  'version 2': { compat: '0.10' },
  'clusters of 512 bytes': { clusterBytes: 512 },
  'clusters of 2 MiB': { clusterBytes: 2 * MIB },
  subclusters: { extendedL2: true },
  'small subclusters': { extendedL2: true, clusterBytes: 16 * KIB },
  'refcounts of 1 bit': { refcountBits: 1 },
  'refcounts of 64 bits': { refcountBits: 64, clusterBytes: 512 },
  'lazy refcounts': { lazyRefcounts: true },
};

for (const overlay of [false, true]) {
  for (const [name, options] of Object.entries(SHAPES)) {
    test(`qcow2_write ${name}${overlay ? ', overlay' : ''}: QEMU agrees`, async (t) => {
      if (!need(t, { tools: TOOLS })) return;
      const folder = home(t);
      const base = join(folder, 'base.raw');
      const first = Buffer.alloc(SIZE_BYTES);
      if (overlay) {
        for (let at = 0; at < BASE_BYTES; at += 512)
          first.fill(1 + ((at / 512) % 250), at, at + 512);
      }
      writeFileSync(base, first.subarray(0, BASE_BYTES));
      let n = 0;
      await fc.assert(
        fc.asyncProperty(steps, async (list) => {
          n += 1;
          const image = join(folder, `${n}.qcow2`);
          const backing = { file: base, format: 'raw' as const };
          const named = overlay ? { extendedL2: false, backing } : {};
          await createQcow2(image, { sizeBytes: SIZE_BYTES, ...named, ...options });
          const open = async (): Promise<BlockDevice> =>
            openQcow2(image, {
              backing: overlay ? await openRaw(base, { readOnly: true }) : null,
              ownsBacking: true,
            });
          let device = await open();
          const oracle = Buffer.from(first);
          for (const step of list) {
            if (step.kind === 'reopen') {
              await closed(device);
              device = await open();
            } else {
              await perform(device, oracle, step);
            }
          }
          assert.ok((await contents(device)).equals(oracle), 'we read what we wrote');
          await closed(device);
          await qemuChecks(image);
          await toRaw(image, `${image}.raw`);
          assert.ok(readFileSync(`${image}.raw`).equals(oracle), 'and so does QEMU');
        }),
        { numRuns: 4, seed: 11 },
      );
    });
  }
}

test('qcow2_write in turns with qemu-io, under snapshots of both', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await createQcow2(image, { sizeBytes: 8 * MIB });
  const states: Buffer[] = [];
  for (let round = 0; round < 4; round++) {
    const device = await openQcow2(image);
    const bytes = Buffer.alloc(300 * KIB, 0x10 + round);
    await asked((done) => {
      device.write(round * MIB, bytes, 0, bytes.length, done);
    });
    await device.createSnapshot(`ours ${round}`);
    states.push(await contents(device));
    await closed(device);
    await qemuChecks(image);
    await qemuIo(image, [`write -P ${0x50 + round} ${round * 1100}k 200k`, 'write -z 2M 70k']);
    await run('qemu-img', ['snapshot', '-c', `theirs ${round}`, image]);
    await toRaw(image, `${image}.raw`);
    states.push(readFileSync(`${image}.raw`));
    await qemuChecks(image);
  }
  const device = await openQcow2(image);
  const names = device.snapshots();
  assert.equal(names.length, 8);
  for (const n of [5, 2, 7, 0]) {
    await device.applySnapshot(names[n]?.id ?? '');
    assert.ok((await contents(device)).equals(states[n] ?? Buffer.alloc(0)), `state ${n}`);
  }
  for (const n of [1, 3, 4, 6]) await device.deleteSnapshot(names[n]?.id ?? '');
  await closed(device);
  await qemuChecks(image);
  for (const n of [0, 2, 5, 7]) {
    await run('qemu-img', ['snapshot', '-a', names[n]?.name ?? '', image]);
    await toRaw(image, `${image}.raw`);
    assert.ok(readFileSync(`${image}.raw`).equals(states[n] ?? Buffer.alloc(0)), `state ${n}`);
  }
  await qemuChecks(image);
});

test('qcow2_write into an image of qemu-img: compressed, preallocated, bitmaps', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  const raw = join(folder, 'a.raw');
  const image = join(folder, 'a.qcow2');
  const oracle = Buffer.alloc(SIZE_BYTES);
  for (let at = 0; at < oracle.length; at += 4096) oracle.fill((at / 4096) % 251, at, at + 4096);
  for (const options of ['compression_type=zlib', 'compression_type=zstd,cluster_size=4k']) {
    writeFileSync(raw, oracle);
    await run('qemu-img', ['convert', '-c', '-O', 'qcow2', '-o', options, '-f', 'raw', raw, image]);
    await run('qemu-img', ['bitmap', '--add', image, 'changes']);
    assert.equal((await readQcow2Info(image)).bitmaps, true);
    const device = await openQcow2(image);
    const content = Buffer.from(oracle);
    for (let n = 0; n < 20; n++) {
      const step = {
        kind: 'write' as const,
        at: (n * 577) % 12_000,
        blocks: 1 + n * 7,
        fill: n + 1,
      };
      await perform(device, content, step);
      await perform(device, content, { ...step, kind: 'discard', at: (n * 911) % 12_000 });
    }
    assert.ok((await contents(device)).equals(content));
    await closed(device);
    const { stdout } = await new Running('qemu-img', ['check', image]).finished();
    assert.ok(!/ERROR/.test(stdout), stdout);
    await toRaw(image, `${image}.raw`);
    assert.ok(readFileSync(`${image}.raw`).equals(content));
  }
});

test('qcow2_lock: qemu-img and we keep each other away, both ways', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await createQcow2(image, { sizeBytes: 8 * MIB });
  const device = await openQcow2(image);
  assert.match(await failing('qemu-img', ['check', image]), /lock/);
  assert.match(await failing('qemu-io', ['-c', 'write 0 4k', image]), /lock/);
  await assert.rejects(openQcow2(image), isConflict);
  await assert.rejects(openQcow2(image, { readOnly: true }), isConflict);
  await closed(device);
  const reader = await openQcow2(image, { readOnly: true });
  await run('qemu-img', ['check', image]);
  assert.match(await failing('qemu-io', ['-c', 'write 0 4k', image]), /lock/);
  await closed(reader);
  const theirs = new Running('qemu-io', [image]);
  theirs.child.stdin?.write('read 0 512\n');
  await theirs.waitFor(/read 512\/512/);
  await assert.rejects(openQcow2(image), isConflict);
  theirs.child.stdin?.end('quit\n');
  await theirs.finished();
  await closed(await openQcow2(image));
});

function isConflict(e: unknown): boolean {
  return e instanceof UserError && e.kind === 'conflict';
}

test('qcow2_grow: QEMU sees the new size, and zeros where the base goes on', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  const base = join(folder, 'base.raw');
  writeFileSync(base, Buffer.alloc(8 * MIB, 0x77));
  for (const clusterBytes of [512, 64 * KIB]) {
    const image = join(folder, `${clusterBytes}.qcow2`);
    const backing = { file: base, format: 'raw' as const };
    const sizeBytes = 3 * MIB + 512;
    await createQcow2(image, { sizeBytes, clusterBytes, extendedL2: false, backing });
    const device = await openQcow2(image, { backing: await openRaw(base, { readOnly: true }) });
    await asked((done) => {
      device.grow(9 * MIB, done);
    });
    const oracle = Buffer.alloc(9 * MIB);
    oracle.fill(0x77, 0, sizeBytes);
    assert.ok((await contents(device)).equals(oracle));
    await closed(device);
    await qemuChecks(image);
    await toRaw(image, `${image}.raw`);
    assert.ok(readFileSync(`${image}.raw`).equals(oracle));
  }
});

test('qcow2_grow: what the tables have behind the disk (a machine’s memory) is no part of it', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  for (const clusterBytes of [512, 64 * KIB]) {
    const image = join(folder, `${clusterBytes}.qcow2`);
    await createQcow2(image, { sizeBytes: 5 * MIB, clusterBytes });
    await qemuIo(image, ['write -P 0x11 0 1M', 'write -P 0x22 3M 1M']);
    const bytes = readFileSync(image);
    bytes.writeBigUInt64BE(BigInt(2 * MIB + 512), 24);
    writeFileSync(image, bytes);
    const device = await openQcow2(image);
    await asked((done) => {
      device.grow(9 * MIB, done);
    });
    const oracle = Buffer.alloc(9 * MIB);
    oracle.fill(0x11, 0, MIB);
    assert.ok((await contents(device)).equals(oracle));
    await closed(device);
    await qemuChecks(image);
    await toRaw(image, `${image}.raw`);
    assert.ok(readFileSync(`${image}.raw`).equals(oracle));
  }
});

test('qcow2_create refuses what exists, and an overlay is not opened without its base', async (t) => {
  const folder = home(t);
  const backing = { file: '/nowhere/base.raw', format: 'raw' as const };
  const image = join(folder, 'a.qcow2');
  await createQcow2(image, { sizeBytes: 10 * 1024 * MIB, backing });
  await assert.rejects(createQcow2(image, { sizeBytes: MIB }), isConflict);
  await assert.rejects(openQcow2(image), (e) => {
    assert.ok(e instanceof UserError);
    assert.match(e.message, /\/nowhere\/base\.raw/);
    assert.match(e.message, /--backing/);
    return true;
  });
});
