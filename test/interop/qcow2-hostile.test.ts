/** What must be refused, noticed, or survived, with qemu-img as the judge of what is left. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UserError } from '#base/mod.ts';
import {
  BlockError,
  checkQcow2,
  createQcow2,
  openQcow2,
  openRaw,
  readQcow2Info,
} from '#block/mod.ts';
import type { Qcow2Device } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';
import { asked, closed, contents, failing, home, qemuChecks, qemuIo } from './qcow2-kit.ts';

const TOOLS = ['qemu-img', 'qemu-io'];
const KIB = 1024;
const MIB = 1024 * KIB;

function refusal(pattern: RegExp): (e: unknown) => boolean {
  return (e) => {
    assert.ok(e instanceof UserError, String(e));
    assert.match(e.message, pattern);
    return true;
  };
}

function write(device: Qcow2Device, at: number, bytes: Buffer): Promise<void> {
  return asked((done) => {
    device.write(at, bytes, 0, bytes.length, done);
  });
}

/** Overwrites bytes of a file. */
function poke(path: string, at: number, bytes: Uint8Array): void {
  const all = readFileSync(path);
  all.set(bytes, at);
  writeFileSync(path, all);
}

test('qcow2_encrypted images are refused by name, and inspected', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  const image = join(folder, 'a.qcow2');
  const secret = ['--object', 'secret,id=s,data=geheim'];
  const options = 'encrypt.format=aes,encrypt.key-secret=s';
  await run('qemu-img', ['create', ...secret, '-f', 'qcow2', '-o', options, image, '4M']);
  assert.equal((await readQcow2Info(image)).encryption, 'aes');
  await assert.rejects(openQcow2(image), refusal(/encrypted .AES/));
  // qemu-img takes seconds, or fails, to make a LUKS key: the method's number is what counts.
  poke(image, 35, Buffer.of(2));
  assert.equal((await readQcow2Info(image)).encryption, 'luks');
  await assert.rejects(openQcow2(image), refusal(/encrypted .LUKS/));
  poke(image, 35, Buffer.of(9));
  await assert.rejects(openQcow2(image), refusal(/encrypted .method 9/));
});

test('hostile case 35: an external data file is refused, never opened', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const folder = home(t);
  const image = join(folder, 'a.qcow2');
  const data = join(folder, 'data.raw');
  await run('qemu-img', ['create', '-f', 'qcow2', '-o', `data_file=${data}`, image, '4M']);
  assert.equal((await readQcow2Info(image)).dataFile, data);
  await assert.rejects(openQcow2(image), refusal(/data is in .*data\.raw/));
});

test('hostile case 35: backing paths are shown and never followed', async (t) => {
  const image = join(home(t), 'a.qcow2');
  const names = ['/etc/shadow', 'json:{"driver":"raw"}', 'nbd://h/x', '\u001b[31mred', image];
  for (const file of names) {
    const path = `${image}.${names.indexOf(file)}`;
    await createQcow2(path, { sizeBytes: MIB, backing: { file, format: 'raw' } });
    const info = await readQcow2Info(path);
    assert.ok(info.backing !== null && !info.backing.file.includes('\u001b'));
    await assert.rejects(openQcow2(path), refusal(/is never followed/));
  }
  const plain = `${image}.plain`;
  await createQcow2(plain, { sizeBytes: MIB });
  const raw = join(home(t), 'base.raw');
  writeFileSync(raw, Buffer.alloc(MIB));
  const backing = await openRaw(raw, { readOnly: true });
  await assert.rejects(openQcow2(plain, { backing }), refusal(/is no overlay/));
  await closed(backing);
});

test('hostile case 34: unknown incompatible features are refused by name', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await run('qemu-img', ['create', '-f', 'qcow2', image, '4M']);
  // Feature bit 9, and a name for it in the table that qemu-img wrote.
  poke(image, 78, Buffer.of(2));
  const at = readFileSync(image).indexOf('dirty bit');
  poke(image, at - 1, Buffer.from('\u0009time travel'));
  await assert.rejects(openQcow2(image), refusal(/"time travel.*\(bit 9\)/));
});

test('hostile case 34: a corrupt image can be read and not written', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await run('qemu-img', ['create', '-f', 'qcow2', image, '4M']);
  await qemuIo(image, ['write -P 7 0 64k']);
  poke(image, 79, Buffer.of(2));
  const device = await openQcow2(image);
  assert.equal(device.readOnly, true);
  assert.equal((await contents(device))[100], 7);
  assert.throws(
    () => device.tryWrite(0, Buffer.alloc(512), 0, 512),
    (e) => e instanceof BlockError && e.kind === 'read-only',
  );
  await closed(device);
  const report = await checkQcow2(image, { repair: 'all' });
  assert.equal(report.errors, 0);
  const mended = await openQcow2(image);
  assert.equal(mended.readOnly, false);
  await closed(mended);
});

test('hostile case 34: a guest cluster over the L1 table: corrupt bit, read-only', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await run('qemu-img', ['create', '-f', 'qcow2', image, '4M']);
  await qemuIo(image, ['write -P 7 0 64k']);
  const bytes = readFileSync(image);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
  const entry = Buffer.alloc(8);
  entry.writeBigUInt64BE(BigInt(l1) | (1n << 63n));
  poke(image, l2, entry);
  const device = await openQcow2(image);
  await assert.rejects(
    write(device, 0, Buffer.alloc(512, 1)),
    (e) => e instanceof BlockError && e.kind === 'io' && /over metadata/.test(e.message),
  );
  assert.equal(device.readOnly, true);
  assert.match(device.corruption ?? '', /corrupt/);
  await closed(device);
  assert.equal(Number(readFileSync(image).readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n), l2);
  assert.equal((await readQcow2Info(image)).corrupt, true);
  assert.match(await failing('qemu-io', ['-c', 'write 0 4k', image]), /corrupt/);
});

test('an image that lost its end: zeros or an error, never somebody else’s data', async (t) => {
  const image = join(home(t), 'a.qcow2');
  await createQcow2(image, { sizeBytes: 4 * MIB });
  const device = await openQcow2(image);
  await write(device, 0, Buffer.alloc(2 * MIB, 7));
  await closed(device);
  truncateSync(image, statSync(image).size - MIB);
  const again = await openQcow2(image, { readOnly: true });
  const bytes = await contents(again);
  assert.ok(bytes.every((b) => b === 7 || b === 0));
  await closed(again);
});

/** Writes and is killed: what it answered is in the journal only. */
const VICTIM = `
import { openQcow2 } from '#block/mod.ts';
const device = await openQcow2(process.argv[2]);
for (let n = 0; n < 64; n++) {
  const bytes = Buffer.alloc(4096, n + 1);
  const at = n * 100 * 1024 - (n * 100 * 1024) % 4096;
  if (!device.tryWrite(at, bytes, 0, 4096)) {
    await new Promise((resolve) => device.write(at, bytes, 0, 4096, resolve));
  }
}
await new Promise((resolve) => device.discard(0, 1024 * 1024, resolve));
process.kill(process.pid, 'SIGKILL');
`;

async function killed(image: string): Promise<Buffer> {
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const victim = new Running(process.execPath, ['--input-type=module', '-', image], { cwd });
  victim.child.stdin?.end(VICTIM);
  const { signal, stderr } = await victim.finished();
  assert.equal(signal, 'SIGKILL', stderr);
  const oracle = Buffer.alloc(8 * MIB);
  for (let n = 0; n < 64; n++) {
    const at = n * 100 * KIB - ((n * 100 * KIB) % 4096);
    oracle.fill(n + 1, at, at + 4096);
  }
  return oracle.fill(0, 0, MIB);
}

test('durability contract 2: a killed writer’s answers are there, read-only too', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await createQcow2(image, { sizeBytes: 8 * MIB });
  const oracle = await killed(image);
  const { stdout } = await new Running('qemu-img', ['check', image]).finished();
  assert.ok(!/ERROR/.test(stdout), stdout);
  const reader = await openQcow2(image, { readOnly: true });
  assert.ok((await contents(reader)).equals(oracle), 'read-only: in memory');
  await closed(reader);
  assert.equal((await checkQcow2(image)).errors, 0);
  const device = await openQcow2(image);
  assert.ok((await contents(device)).equals(oracle), 'as a writer: in the tables');
  await closed(device);
  await run('qemu-img', ['check', '-r', 'leaks', image]);
  await qemuChecks(image);
});

test('a journal is not believed once another program has written to the image', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await createQcow2(image, { sizeBytes: 8 * MIB });
  await killed(image);
  await qemuIo(image, ['write -P 0x99 4M 64k']);
  const device = await openQcow2(image);
  const bytes = await contents(device);
  assert.ok(bytes.subarray(4 * MIB, 4 * MIB + 64 * KIB).every((b) => b === 0x99));
  await closed(device);
  const report = await checkQcow2(image, { repair: 'leaks' });
  assert.equal(report.errors, 0);
  await qemuChecks(image);
});

test('an image that QEMU left dirty is counted anew', async (t) => {
  if (!need(t, { tools: TOOLS })) return;
  const image = join(home(t), 'a.qcow2');
  await run('qemu-img', ['create', '-f', 'qcow2', '-o', 'lazy_refcounts=on', image, '8M']);
  const theirs = new Running('qemu-io', [image]);
  // It takes one line per wake-up.
  for (const [line, answer] of [
    ['write -P 0x31 0 3M', /wrote 3145728/],
    ['write -P 0x32 5M 100k', /wrote 102400/],
    ['flush', /(?:qemu-io> [^]*){4}/], // a prompt more, nothing else
    ['read 0 512', /read 512\/512/],
  ] as const) {
    theirs.child.stdin?.write(`${line}\n`);
    await theirs.waitFor(answer);
  }
  await theirs.stop('SIGKILL');
  assert.equal((await readQcow2Info(image)).dirty, true);
  await assert.rejects(openQcow2(image, { repair: false }), refusal(/needs a repair/));
  const device = await openQcow2(image);
  const bytes = await contents(device);
  assert.ok(bytes.subarray(0, 3 * MIB).every((b) => b === 0x31));
  assert.ok(bytes.subarray(5 * MIB, 5 * MIB + 100 * KIB).every((b) => b === 0x32));
  await write(device, 4 * MIB, Buffer.alloc(64 * KIB, 0x33));
  await closed(device);
  await qemuChecks(image);
});

test('hostile case 37: no space in a real file system, and on when there is again', async (t) => {
  if (!need(t, { root: true, tools: [...TOOLS, 'mount'] })) return;
  for (const extendedL2 of [false, true]) {
    const folder = home(t);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'none', folder]);
    try {
      const image = join(folder, 'a.qcow2');
      await createQcow2(image, { sizeBytes: 64 * MIB, extendedL2 });
      const device = await openQcow2(image);
      const oracle = Buffer.alloc(64 * MIB);
      const fill = join(folder, 'fill');
      let full = 0;
      for (let n = 0; n < 40; n++) {
        const at = (n * 1531 * KIB) % (63 * MIB);
        const bytes = Buffer.alloc(300 * KIB, n + 1);
        if (n === 20) writeFileSync(fill, Buffer.alloc(16 * KIB));
        try {
          await write(device, at, bytes);
          bytes.copy(oracle, at);
        } catch (e) {
          assert.ok(e instanceof BlockError && e.kind === 'no-space', String(e));
          full += 1;
          // What a failed write left is unknown; it is written again when there is space.
          await run('mount', ['-o', 'remount,size=64m', folder]);
          await write(device, at, bytes);
          bytes.copy(oracle, at);
        }
      }
      assert.ok(full > 0, 'it was full');
      assert.ok((await contents(device)).equals(oracle));
      await closed(device);
      await qemuChecks(image);
    } finally {
      await run('umount', ['--lazy', folder]);
    }
  }
});
