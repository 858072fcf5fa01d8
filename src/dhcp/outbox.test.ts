import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from './outbox.ts';

/** Records calls as `length/segment`, and refuses what it is told to. */
function recorder(refuse: (length: number, segment: number) => boolean = () => false): {
  calls: string[];
  sent: Buffer[];
  failed: Buffer[];
  due: (() => void)[];
  outbox: Outbox;
} {
  const calls: string[] = [];
  const sent: Buffer[] = [];
  const failed: Buffer[] = [];
  const due: (() => void)[] = [];
  const sender = {
    send(from: Uint8Array, at: number, length: number, segment = 0): number {
      calls.push(`${length}/${segment}`);
      if (refuse(length, segment)) return -5;
      const step = segment === 0 ? length : segment;
      for (let n = 0; n < length; n += step) {
        sent.push(Buffer.from(from.subarray(at + n, at + Math.min(n + step, length))));
      }
      return length;
    },
  };
  const outbox = new Outbox(
    sender,
    (flush) => due.push(flush),
    (bytes) => failed.push(bytes),
  );
  return { calls, sent, failed, due, outbox };
}

test('equal lengths of one turn leave together, another length begins anew', () => {
  const r = recorder();
  for (let n = 0; n < 3; n++) r.outbox.put(Buffer.alloc(300, n));
  r.outbox.put(Buffer.alloc(320, 9));
  assert.deepEqual(r.calls, ['900/300']);
  assert.equal(r.due.length, 1);
  r.due[0]?.();
  assert.deepEqual(r.calls, ['900/300', '320/0']);
  assert.deepEqual(
    r.sent.map((b) => [b.length, b[0]]),
    [
      [300, 0],
      [300, 1],
      [300, 2],
      [320, 9],
    ],
  );
});

test('a full box leaves at once: 64 datagrams or 65,507 bytes', () => {
  const r = recorder();
  for (let n = 0; n < 65; n++) r.outbox.put(Buffer.alloc(300));
  assert.deepEqual(r.calls, [`${64 * 300}/300`]);
  const big = recorder();
  for (let n = 0; n < 50; n++) big.outbox.put(Buffer.alloc(1472));
  assert.deepEqual(big.calls, [`${44 * 1472}/1472`]);
});

test('an interface without segmentation gets them one by one from then on', () => {
  const r = recorder((_, segment) => segment > 0);
  for (const value of [1, 2]) r.outbox.put(Buffer.alloc(300, value));
  r.outbox.flush();
  assert.deepEqual(r.calls, ['600/300', '300/0', '300/0']);
  r.outbox.put(Buffer.alloc(300, 3));
  r.outbox.put(Buffer.alloc(300, 4));
  r.outbox.flush();
  assert.deepEqual(r.calls.slice(3), ['300/0', '300/0']);
  assert.deepEqual(
    r.sent.map((b) => b[0]),
    [1, 2, 3, 4],
  );
});

test('what the kernel does not take is handed back, whole and untouched', () => {
  const r = recorder(() => true);
  for (const value of [1, 2]) r.outbox.put(Buffer.alloc(300, value));
  r.outbox.flush();
  r.outbox.put(Buffer.alloc(300, 7));
  assert.deepEqual(
    r.failed.map((b) => b[0]),
    [1, 2],
  );
});
