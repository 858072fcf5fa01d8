import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, InternalError } from '#base/mod.ts';
import { BlockError, DelayDevice, MemoryDevice, answered } from '#block/mod.ts';
import { GateDevice } from './gate-device.ts';
import { SerialQueue } from './serial-queue.ts';

const BLOCK = Buffer.alloc(512, 1);

/** Lets callbacks and promises that are due run. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test('gate: open it passes everything; shut it holds, and lets go in order', async () => {
  const memory = new MemoryDevice({ sizeBytes: 64 * 1024 });
  const states: boolean[] = [];
  const gate: GateDevice = new GateDevice(memory, () => states.push(gate.shut));
  assert.equal(gate.tryWrite(0, BLOCK, 0, 512), true);
  const work = Promise.withResolvers<undefined>();
  const fence = gate.fence('hold', () => work.promise);
  await settle();
  assert.equal(gate.tryRead(0, Buffer.alloc(512), 0, 512), false);
  const order: number[] = [];
  for (const n of [1, 2, 3]) gate.flush(() => order.push(n));
  assert.equal(gate.waiting, 3);
  await settle();
  assert.equal(order.length, 0);
  work.resolve(undefined);
  await fence;
  await settle();
  assert.deepEqual(order, [1, 2, 3]);
  assert.deepEqual(states, [true, false]);
});

test('gate: a fence waits for what is under way, and the next fence for the one before', async () => {
  const clock = new FakeClock();
  const slow = new DelayDevice(new MemoryDevice({ sizeBytes: 64 * 1024 }), clock, { writeMs: 5 });
  const gate = new GateDevice(slow);
  const story: string[] = [];
  gate.write(0, BLOCK, 0, 512, () => story.push('written'));
  const fence = (name: string): Promise<void> =>
    gate.fence('hold', async () => {
      story.push(name);
      await settle();
    });
  const both = Promise.all([fence('one'), fence('two')]);
  await settle();
  assert.equal(story.length, 0);
  clock.advance(5);
  await both;
  assert.deepEqual(story, ['written', 'one', 'two']);
});

test('gate: a fence that fails opens again; what is refused or cancelled says so', async () => {
  const gate = new GateDevice(new MemoryDevice({ sizeBytes: 64 * 1024 }));
  const work = Promise.withResolvers<undefined>();
  const fence = gate.fence('refuse', () => work.promise);
  await settle();
  const refused = await new Promise((resolve) => {
    gate.write(0, BLOCK, 0, 512, resolve);
  });
  assert.ok(refused instanceof BlockError && refused.kind === 'gone');
  work.reject(new Error('the work failed'));
  await assert.rejects(fence, /the work failed/);
  assert.equal(gate.shut, false);

  const hold = Promise.withResolvers<undefined>();
  const second = gate.fence('hold', () => hold.promise);
  await settle();
  const [mine, others] = [{}, {}];
  const answers: string[] = [];
  gate.whenOpen(mine, (e) => answers.push(`mine ${e?.kind}`));
  gate.whenOpen(others, (e) => answers.push(`others ${e?.kind}`));
  gate.cancel(mine);
  assert.deepEqual(answers, ['mine gone']);
  hold.resolve(undefined);
  await second;
  assert.deepEqual(answers, ['mine gone', 'others undefined']);
});

test('gate: settled waits for what is there when asked, not for what comes later', async () => {
  const clock = new FakeClock();
  const slow = new DelayDevice(new MemoryDevice({ sizeBytes: 64 * 1024 }), clock, { writeMs: 5 });
  const gate = new GateDevice(slow);
  let quiet = 0;
  gate.settled(() => (quiet += 1));
  assert.equal(quiet, 1, 'nothing is under way');
  gate.write(0, BLOCK, 0, 512, () => undefined);
  gate.settled(() => (quiet += 1));
  clock.advance(3);
  gate.write(512, BLOCK, 0, 512, () => undefined);
  assert.equal(quiet, 1);
  clock.advance(2);
  await settle();
  assert.equal(quiet, 2);
});

test('serial-queue: one after the other, also behind a failure', async () => {
  const queue = new SerialQueue();
  const story: string[] = [];
  const first = queue.run(async () => {
    await settle();
    story.push('one');
    throw new Error('no');
  });
  const second = queue.run(() => Promise.resolve(story.push('two')));
  assert.equal(queue.busy, true);
  await assert.rejects(first, /no/);
  assert.equal(await second, 2);
  await settle();
  assert.deepEqual([story, queue.busy], [['one', 'two'], false]);
});

test('a device that throws where it should answer: all that waits for it goes on', async () => {
  class Broken extends MemoryDevice {
    override write(): never {
      throw new InternalError('a bug');
    }

    override flush(): never {
      throw new BlockError('gone', 'nobody there', 0);
    }
  }
  const gate = new GateDevice(new Broken({ sizeBytes: 4096 }));
  const written = answered((done) => {
    gate.write(0, Buffer.alloc(512), 0, 512, done);
  });
  const flushed = answered((done) => {
    gate.flush(done);
  });
  const fenced = gate.fence('hold', () => Promise.resolve('alone'));
  await assert.rejects(written, { kind: 'io', message: /a bug/ });
  await assert.rejects(flushed, { kind: 'gone' });
  assert.equal(await fenced, 'alone');
  await new Promise<void>((resolve) => {
    gate.settled(resolve);
  });
});
