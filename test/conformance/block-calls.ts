import assert from 'node:assert/strict';
import { BlockError } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';

/** A call of a device as a promise; rejects with its `BlockError`. */
export function asked(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Reads, by `tryRead` where it can, else by `read`. */
export async function readBytes(
  device: BlockDevice,
  offset: number,
  length: number,
): Promise<Buffer> {
  const into = Buffer.alloc(length);
  if (!device.tryRead(offset, into, 0, length)) {
    await asked((done) => {
      device.read(offset, into, 0, length, done);
    });
  }
  return into;
}

/** Writes, by `tryWrite` where it can, else by `write`. */
export async function writeBytes(
  device: BlockDevice,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  if (device.tryWrite(offset, from, 0, from.length)) return;
  await asked((done) => {
    device.write(offset, from, 0, from.length, done);
  });
}

/** For `assert.rejects` and `assert.throws`. */
export function kindIs(kind: BlockError['kind']): (e: unknown) => boolean {
  return (e) => {
    assert.ok(e instanceof BlockError, String(e));
    assert.equal(e.kind, kind);
    return true;
  };
}
