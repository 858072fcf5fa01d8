import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BlockError, answered, checkQcow2On, createQcow2, openQcow2On } from '#block/mod.ts';
import type { BlockDone, Qcow2Device } from '#block/mod.ts';
import { MemoryFile } from '../fuzz/qcow2-memory-file.ts';

/** A file whose header cannot be written once. */
class HeaderFaultFile extends MemoryFile {
  failsNext = false;

  override write(
    position: number,
    from: Uint8Array,
    at: number,
    length: number,
    done: BlockDone,
  ): void {
    if (position !== 0 || !this.failsNext) {
      super.write(position, from, at, length, done);
      return;
    }
    this.failsNext = false;
    queueMicrotask(() => {
      done(new BlockError('no-space', 'the disk is full', 0));
    });
  }
}

const KIB = 1024;

/** An image of 1 MiB with clusters of 512 bytes: an L2 table describes 32 KiB. */
async function smallImage(): Promise<HeaderFaultFile> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-header-'));
  const path = join(folder, 'a.qcow2');
  await createQcow2(path, { sizeBytes: 1024 * KIB, clusterBytes: 512 });
  const file = new HeaderFaultFile(readFileSync(path));
  rmSync(folder, { recursive: true });
  return file;
}

async function put(device: Qcow2Device, offsetBytes: number, text: string): Promise<void> {
  await answered((done) => {
    device.write(offsetBytes, Buffer.alloc(512, text), 0, 512, done);
  });
}

async function close(device: Qcow2Device): Promise<void> {
  await answered((done) => {
    device.close(done);
  });
}

/** The letters at these offsets, seen by whoever opens the image next. */
async function lettersIn(content: Buffer, offsets: readonly number[]): Promise<string> {
  const file = new MemoryFile(content);
  const device = await openQcow2On(file, 'a');
  const bytes = Buffer.alloc(512);
  let letters = '';
  for (const offset of offsets) {
    await answered((done) => {
      device.read(offset, bytes, 0, 512, done);
    });
    letters += bytes.toString('latin1', 0, 1);
  }
  await close(device);
  assert.equal((await checkQcow2On(file, 'a')).errors, 0);
  return letters;
}

test('qcow2: a header that cannot be written while the disk grows loses nothing later', async () => {
  const file = await smallImage();
  const device = await openQcow2On(file, 'a');
  await put(device, 0, 'a');
  file.failsNext = true;
  await assert.rejects(
    answered((done) => {
      device.grow(4096 * KIB, done);
    }),
    { kind: 'no-space' },
  );
  await put(device, 512 * KIB, 'b');
  await close(device);
  assert.equal(await lettersIn(file.content, [0, 512 * KIB]), 'ab');
  assert.equal((await checkQcow2On(file, 'a')).leaks, 0);
});

test('qcow2: a header that cannot be written for a snapshot leaves the journal in force', async () => {
  const file = await smallImage();
  const device = await openQcow2On(file, 'a');
  await put(device, 0, 'a');
  file.failsNext = true;
  await assert.rejects(device.createSnapshot('s'), { kind: 'no-space' });
  // Enough of them that the refcounts need a larger table, which the header names.
  const offsets = Array.from({ length: 2000 }, (_, n) => n * 512);
  await answered((done) => {
    device.grow(64 * 1024 * KIB, done);
  });
  for (const offset of offsets) await put(device, offset, 'b');
  const killed = Buffer.from(file.content);
  assert.equal((await lettersIn(killed, offsets)).replaceAll('b', ''), '', 'all are there');
  await close(device);
});
