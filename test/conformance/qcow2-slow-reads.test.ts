import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { answered, createQcow2, openQcow2On } from '#block/mod.ts';
import type { BlockDone } from '#block/mod.ts';
import { MemoryFile } from '../fuzz/qcow2-memory-file.ts';

/** A file on a disk that is slow with one answer: what it read, it read before. */
class SlowFile extends MemoryFile {
  cold = false;
  held: (() => void) | null = null;

  override tryRead(position: number, into: Uint8Array, at: number, length: number): boolean {
    return this.cold ? false : super.tryRead(position, into, at, length);
  }

  override read(
    position: number,
    into: Uint8Array,
    at: number,
    length: number,
    done: BlockDone,
  ): void {
    const holds = this.cold;
    this.cold = false;
    super.tryRead(position, into, at, length);
    const answer = (): void => {
      done(null);
    };
    if (holds) this.held = answer;
    else queueMicrotask(answer);
  }
}

test('qcow2: a table that was read before a snapshot and comes after it is read again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-slow-'));
  const path = join(folder, 'a.qcow2');
  await createQcow2(path, { sizeBytes: 1024 * 1024 });
  const file = new SlowFile(readFileSync(path));
  rmSync(folder, { recursive: true });
  const bytes = Buffer.alloc(512, 'a');
  const first = await openQcow2On(file, 'a');
  await answered((done) => {
    first.write(0, bytes, 0, 512, done);
  });
  await answered((done) => {
    first.close(done);
  });
  const device = await openQcow2On(file, 'a');
  file.cold = true;
  const reading = answered((done) => {
    device.read(0, bytes, 0, 512, done);
  });
  assert.ok(file.held !== null, 'its table is on its way');
  const { id } = await device.createSnapshot('s');
  file.held();
  await reading;
  await answered((done) => {
    device.write(0, Buffer.alloc(512, 'b'), 0, 512, done);
  });
  await device.applySnapshot(id);
  await answered((done) => {
    device.read(0, bytes, 0, 512, done);
  });
  assert.equal(bytes.toString('latin1', 0, 1), 'a', 'the snapshot is as it was');
  await answered((done) => {
    device.close(done);
  });
});
