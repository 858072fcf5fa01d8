import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { AtomicLogFile, encodeAtomicWrite, recoverAtomicWrite } from './atomic-log.ts';
import { ErrorDevice } from './filter/error.ts';
import { MemoryDevice } from './memory.ts';

const OLD = Buffer.alloc(4096, 0x0f);
const NEW = Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 251));

function disk(): MemoryDevice {
  const memory = new MemoryDevice({ sizeBytes: 64 * 1024 });
  memory.load(OLD, 8192);
  return memory;
}

function stored(memory: MemoryDevice): Buffer {
  const bytes = Buffer.alloc(4096);
  memory.tryRead(8192, bytes, 0, bytes.length);
  return bytes;
}

test('atomic-log_torn: cut short or damaged anywhere it leaves the old data, whole the new', async () => {
  const whole = encodeAtomicWrite(8192, NEW, OLD);
  for (let length = 0; length <= whole.length; length += length < 64 ? 1 : 509) {
    const memory = disk();
    await recoverAtomicWrite(whole.subarray(0, length), memory);
    assert.ok(stored(memory).equals(OLD), `cut at ${length}`);
  }
  for (let byte = 0; byte < whole.length; byte += byte < 64 ? 1 : 101) {
    if (byte >= 28 && byte < 32) continue; // the header's padding means nothing
    const memory = disk();
    const damaged = Buffer.from(whole);
    damaged[byte] = (damaged[byte] ?? 0) ^ 0x10;
    await recoverAtomicWrite(damaged, memory);
    assert.ok(stored(memory).equals(OLD), `damaged at ${byte}`);
  }
  const memory = disk();
  await recoverAtomicWrite(whole, memory);
  assert.ok(stored(memory).equals(NEW));
});

test('atomic-log_half-done: a mixture of old and new sectors is finished', async () => {
  for (const sectors of [0b1, 0b10101010, 0b11111110, 0b11111111]) {
    const memory = disk();
    for (let i = 0; i < 8; i++) {
      const piece = NEW.subarray(512 * i, 512 * (i + 1));
      if ((sectors & (1 << i)) !== 0) memory.load(piece, 8192 + 512 * i);
    }
    await recoverAtomicWrite(encodeAtomicWrite(8192, NEW, OLD), memory);
    assert.ok(stored(memory).equals(NEW), sectors.toString(2));
  }
});

test('atomic-log_overtaken: what was written without the log meanwhile stays', async () => {
  const memory = disk();
  const later = Buffer.alloc(512, 0x77);
  memory.load(later, 8192 + 1024);
  const expected = stored(memory);
  await recoverAtomicWrite(encodeAtomicWrite(8192, NEW, OLD), memory);
  assert.ok(stored(memory).equals(expected));
});

test('atomic-log_stranger: the log of a larger disk is an error; nothing is written', async () => {
  const memory = disk();
  const far = encodeAtomicWrite(64 * 1024, NEW, OLD);
  await assert.rejects(recoverAtomicWrite(far, memory), DecodeError);
  await assert.rejects(recoverAtomicWrite(encodeAtomicWrite(100, NEW, OLD), memory), DecodeError);
});

test('atomic-log_file: writes, empties itself, and finishes what a crash left behind', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'polyboot-atomic-'));
  t.after(() => {
    rmSync(home, { recursive: true, force: true });
  });
  const path = join(home, 'disk.atomic');
  const memory = disk();
  // The device dies between the log and the data.
  const dying = new ErrorDevice(memory, (operation) => (operation === 'write' ? 'gone' : null));
  const first = await AtomicLogFile.open(path, memory);
  await assert.rejects(first.write(dying, 8192, NEW), { kind: 'failed' });
  await first.close();
  assert.ok(stored(memory).equals(OLD));
  assert.ok(readFileSync(path).length > 4096);

  const second = await AtomicLogFile.open(path, memory);
  assert.ok(stored(memory).equals(NEW));
  assert.equal(readFileSync(path).length, 0);
  await Promise.all([second.write(memory, 8192, OLD), second.write(memory, 0, NEW)]);
  assert.ok(stored(memory).equals(OLD));
  assert.equal(readFileSync(path).length, 0);
  await second.close();
  writeFileSync(path, 'noise');
  await (await AtomicLogFile.open(path, memory)).close();
  assert.ok(stored(memory).equals(OLD));
});

test('atomic-log_full: a log that is written in part only is no log, and nothing happened', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'polyboot-atomic-'));
  t.after(() => {
    rmSync(home, { recursive: true, force: true });
  });
  const path = join(home, 'disk.atomic');
  const memory = disk();
  const log = await AtomicLogFile.open(path, memory);
  t.after(() => log.close());
  const probe = await open(path);
  const handles = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  // As on a disk with room for 1,000 bytes: a short count, then the error.
  let room = 1000;
  const written = t.mock.method(
    handles,
    'write',
    (bytes: Buffer, at: number, length: number, position: number) => {
      const bytesWritten = Math.min(room, length);
      if (bytesWritten === 0) return Promise.reject(new Error('ENOSPC: no space left on device'));
      room -= bytesWritten;
      writeFileSync(
        path,
        Buffer.concat([readFileSync(path), bytes.subarray(at, at + bytesWritten)]),
      );
      assert.equal(readFileSync(path).length, position + bytesWritten);
      return Promise.resolve({ bytesWritten, buffer: bytes });
    },
  );
  await assert.rejects(log.write(memory, 8192, NEW), { kind: 'no-space' });
  assert.ok(stored(memory).equals(OLD));
  assert.equal(readFileSync(path).length, 0);
  written.mock.restore();
  await log.write(memory, 8192, NEW);
  assert.ok(stored(memory).equals(NEW));
});
