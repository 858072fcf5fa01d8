import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice, lendForWritingFrom, lendFrom } from '#block/mod.ts';
import type { LendingDevice } from '#block/mod.ts';
import { GateDevice } from './gate-device.ts';

const ADDRESS = 0x7000_0000;

/** Lends an address that tells what was asked for; nobody uses it. */
class Lender extends MemoryDevice implements LendingDevice {
  lend(offsetBytes: number): number {
    return ADDRESS + offsetBytes;
  }

  lendForWriting(offsetBytes: number): number {
    return 2 * ADDRESS + offsetBytes;
  }
}

test('gate: open it passes loans on; shut it lends nothing, neither to read nor to write', async () => {
  const gate = new GateDevice(new Lender({ sizeBytes: 64 * 1024 }));
  const asked = (): number[] => [lendFrom(gate, 4096, 512), lendForWritingFrom(gate, 4096, 512)];
  const open = [ADDRESS + 4096, 2 * ADDRESS + 4096];
  assert.deepEqual(asked(), open);
  for (const mode of ['hold', 'refuse'] as const) {
    const work = Promise.withResolvers<undefined>();
    const fence = gate.fence(mode, () => {
      assert.deepEqual(asked(), [0, 0], mode);
      return work.promise;
    });
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    assert.ok(gate.shut);
    assert.deepEqual(asked(), [0, 0], mode);
    work.resolve(undefined);
    await fence;
    assert.deepEqual(asked(), open);
  }
});

test('gate: what stands behind it now decides', async () => {
  const gate = new GateDevice(new Lender({ sizeBytes: 64 * 1024 }));
  await gate.fence('hold', () => {
    gate.replace(new MemoryDevice({ sizeBytes: 64 * 1024 }));
    return Promise.resolve();
  });
  assert.equal(lendForWritingFrom(gate, 0, 512), 0);
  assert.equal(lendFrom(gate, 0, 512), 0);
});
