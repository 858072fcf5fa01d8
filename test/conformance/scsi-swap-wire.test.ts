import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MemoryDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { IDENTITY } from './scsi-bench.ts';

const QEMU_ISCSI = '/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so';
const IQN = 'iqn.2026-11.org.polyboot:swap';
const SIZE = 4 * 1024 * 1024;
const PIECES = 64;
const PIECE = SIZE / PIECES;

/** Writes each piece and reads it back, three times over, with another pattern each time. */
function commands(): string[] {
  const list: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < PIECES; i++) {
      list.push('-c', `write -P ${1 + ((round * 71 + i) % 255)} ${i * PIECE} ${PIECE}`);
    }
    for (let i = 0; i < PIECES; i++) {
      list.push('-c', `read -P ${1 + ((round * 71 + i) % 255)} ${i * PIECE} ${PIECE}`);
    }
    list.push('-c', 'flush');
  }
  return list;
}

test('swap_wire: QEMU writes and verifies while the device is changed under it all the time', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  let top = new MemoryDevice({ sizeBytes: SIZE });
  const unit = new LogicalUnit({ identity: IDENTITY, device: top });
  const units = new LogicalUnitSet({ targetName: IQN });
  units.add(0, unit);
  const server = new TargetServer();
  t.after(() => server.close());
  server.addExport({ iqn: IQN, access: 'any', takeover: false }, units);
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  let running = true;
  const url = `iscsi://127.0.0.1:${portal?.port}/${IQN}/0`;
  const verified = run('qemu-io', ['-f', 'raw', url, ...commands()]).finally(() => {
    running = false;
  });
  let swaps = 0;
  const step = async (): Promise<boolean> => {
    const error = await new Promise((resolve) => {
      unit.swapDevice(async () => {
        // Some turns of the event loop, so that commands arrive meanwhile.
        for (let i = 0; i < 5; i++) await setImmediate();
        const bytes = Buffer.alloc(SIZE);
        top.tryRead(0, bytes, 0, SIZE);
        top = new MemoryDevice({ sizeBytes: SIZE });
        top.load(bytes);
        return top;
      }, resolve);
    });
    assert.equal(error, null);
    swaps += 1;
    for (let i = 0; i < 20; i++) await setImmediate();
    return running;
  };
  while (await step());
  const output = await verified;
  assert.doesNotMatch(output, /Pattern verification failed|error/i);
  assert.ok(swaps > 10, `${swaps} changes`);
  t.diagnostic(`${swaps} changes of device`);
});
