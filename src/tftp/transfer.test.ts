import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Agreement } from './options.ts';
import { Transfer, type Sending, type Step } from './transfer.ts';
import { Receiver } from '../../bench/tftp-receiver.ts';

function agreed(blockBytes = 512, windowBlocks = 1, extra: Partial<Agreement> = {}): Agreement {
  const answer = blockBytes === 512 && windowBlocks === 1 ? [] : [['blksize', '0'] as const];
  return { blockBytes, windowBlocks, timeoutMs: undefined, askedSize: false, answer, ...extra };
}

const data = (firstBlock: number, blockCount = 1): Sending => ({
  kind: 'data',
  firstBlock,
  blockCount,
});

/** Lets the transfer time out until it is over; returns how often it sent, when, and the end. */
function starve(transfer: Transfer, first: Step): { sends: number; atMs: number; last: Step } {
  let step = first;
  let sends = 0;
  let atMs = 0;
  while (step.ending === undefined) {
    atMs = step.deadlineMs ?? assert.fail('no deadline');
    step = transfer.handle({ kind: 'timeout' }, atMs);
    if (step.ending === undefined) sends += 1;
    assert.ok(sends < 1000);
  }
  return { sends, atMs, last: step };
}

test('without options: block by block to the short one', () => {
  const t = new Transfer(agreed(), 1024);
  assert.deepEqual(t.handle({ kind: 'start' }, 0).send, data(1));
  assert.deepEqual(t.handle({ kind: 'ack', block: 1 }, 1).send, data(2));
  assert.deepEqual(t.handle({ kind: 'ack', block: 2 }, 2).send, data(3));
  const end = t.handle({ kind: 'ack', block: 3 }, 3);
  assert.deepEqual(end.ending, { kind: 'finished', acknowledged: true });
  assert.deepEqual(t.handle({ kind: 'ack', block: 3 }, 4), {});
});

test('with options: an OACK, and data only after ACK 0', () => {
  const t = new Transfer(agreed(1000, 4), 5000);
  assert.deepEqual(t.handle({ kind: 'start' }, 0).send, { kind: 'oack' });
  assert.deepEqual(t.handle({ kind: 'ack', block: 1 }, 1), {});
  assert.deepEqual(t.handle({ kind: 'ack', block: 0 }, 2).send, data(1, 4));
  assert.deepEqual(t.handle({ kind: 'ack', block: 4 }, 3).send, data(5, 2));
  assert.deepEqual(t.handle({ kind: 'ack', block: 6 }, 4).ending?.kind, 'finished');
});

test('an empty file is one empty block', () => {
  const t = new Transfer(agreed(), 0);
  assert.equal(t.lastBlock, 1);
  t.handle({ kind: 'start' }, 0);
  assert.equal(t.handle({ kind: 'ack', block: 1 }, 1).ending?.kind, 'finished');
});

test('a duplicated ACK never makes a second copy (the Sorcerer’s Apprentice)', () => {
  const t = new Transfer(agreed(), 10_000);
  t.handle({ kind: 'start' }, 0);
  t.handle({ kind: 'ack', block: 1 }, 10);
  for (const block of [1, 0, 9, 65_535]) {
    assert.deepEqual(t.handle({ kind: 'ack', block }, 500), {}, `ACK ${block}`);
  }
  assert.equal(t.retransmissions, 0);
});

test('a gap in a window is resent from there', () => {
  const t = new Transfer(agreed(512, 8), 100_000);
  t.handle({ kind: 'start' }, 0);
  t.handle({ kind: 'ack', block: 0 }, 10);
  assert.deepEqual(t.handle({ kind: 'ack', block: 3 }, 20).send, data(4, 8));
  assert.equal(t.retransmissions, 5);
});

test('the first block of a window lost: its ACK comes again, and is honoured once', () => {
  const t = new Transfer(agreed(512, 8), 100_000);
  t.handle({ kind: 'start' }, 0);
  t.handle({ kind: 'ack', block: 0 }, 10);
  t.handle({ kind: 'ack', block: 8 }, 20);
  // Sooner than a round trip it can only be a duplicate of the network.
  assert.deepEqual(t.handle({ kind: 'ack', block: 8 }, 22), {});
  assert.deepEqual(t.handle({ kind: 'ack', block: 8 }, 31).send, data(9, 8));
  assert.deepEqual(t.handle({ kind: 'ack', block: 8 }, 60), {});
});

test('a client that acknowledges every block of a window does not multiply it', () => {
  const t = new Transfer(agreed(512, 16), 512 * 640);
  let step = t.handle({ kind: 'start' }, 0);
  let nowMs = 10;
  let sent = 0;
  step = t.handle({ kind: 'ack', block: 0 }, nowMs);
  for (let block = 1; step.ending === undefined; block++) {
    if (step.send?.kind === 'data') sent += step.send.blockCount;
    nowMs += block % 16 === 1 ? 10 : 0.01;
    step = t.handle({ kind: 'ack', block }, nowMs);
    assert.ok(block < 700);
  }
  assert.ok(sent < 641 * 2.2, `${sent} blocks sent for 641`);
});

test('before the first answer: five packets to a source that may be forged, no more', () => {
  for (const agreement of [agreed(), agreed(1408)]) {
    const t = new Transfer(agreement, 100_000);
    const { sends, last } = starve(t, t.handle({ kind: 'start' }, 0));
    assert.equal(sends, 4);
    assert.equal(last.ending?.kind === 'failed' && last.ending.reason, 'no-answer');
    assert.equal(last.send, undefined);
  }
});

test('silence in the middle: bounded resends, then an ERROR', () => {
  const t = new Transfer(agreed(), 100_000);
  t.handle({ kind: 'start' }, 0);
  const { sends, atMs, last } = starve(t, t.handle({ kind: 'ack', block: 1 }, 1));
  assert.ok(sends >= 8 && sends <= 20, `${sends} resends`);
  assert.ok(atMs >= 30_000 && atMs <= 35_000, `after ${atMs} ms`);
  assert.equal(last.ending?.kind === 'failed' && last.ending.reason, 'timed-out');
  assert.equal(last.send?.kind, 'error');
});

test('the last ACK may never come: that is no failure', () => {
  const t = new Transfer(agreed(), 600);
  t.handle({ kind: 'start' }, 0);
  const { last } = starve(t, t.handle({ kind: 'ack', block: 1 }, 1));
  assert.deepEqual(last.ending, { kind: 'finished', acknowledged: false });
});

test('a size probe: OACK, then an ERROR of any code, or silence', () => {
  for (const code of [0, 4]) {
    const t = new Transfer(agreed(1408, 1, { askedSize: true }), 100_000);
    t.handle({ kind: 'start' }, 0);
    const end = t.handle({ kind: 'error', code, message: 'TFTP Aborted' }, 1);
    assert.deepEqual(end.ending, { kind: 'probe' });
  }
  const silent = new Transfer(agreed(1408, 1, { askedSize: true }), 100_000);
  const { last } = starve(silent, silent.handle({ kind: 'start' }, 0));
  assert.deepEqual(last.ending, { kind: 'probe' });
});

test('ERROR 8 and an ERROR in the middle are failures with their reason', () => {
  const refused = new Transfer(agreed(1408, 1, { askedSize: true }), 100_000);
  refused.handle({ kind: 'start' }, 0);
  const end = refused.handle({ kind: 'error', code: 8, message: 'no' }, 1).ending;
  assert.equal(end?.kind === 'failed' && end.reason, 'options-refused');
  const t = new Transfer(agreed(), 100_000);
  t.handle({ kind: 'start' }, 0);
  t.handle({ kind: 'ack', block: 1 }, 1);
  const gone = t.handle({ kind: 'error', code: 3, message: 'Disk full' }, 2).ending;
  assert.deepEqual(gone, {
    kind: 'failed',
    reason: 'client-error',
    message: 'the client said: Disk full',
  });
});

test('the time-out adapts, and an answer to something sent twice is no sample (Karn)', () => {
  const t = new Transfer(agreed(), 100_000);
  t.handle({ kind: 'start' }, 0);
  const step = t.handle({ kind: 'ack', block: 1 }, 10);
  assert.equal(step.deadlineMs, 40);
  assert.equal(t.handle({ kind: 'timeout' }, 39).deadlineMs, 40);
  assert.equal(t.handle({ kind: 'timeout' }, 40).deadlineMs, 100);
  // Acknowledged 1 ms after the resend: which of the two copies it answers is unknown.
  assert.equal(t.handle({ kind: 'ack', block: 2 }, 41).deadlineMs, 71);
});

type Link = { loss: number; duplicate: number; jitterMs: number };
type Outcome = { transfer: Transfer; packets: number; receiver: Receiver; endedAtMs: number };

/** Runs a transfer over a bad link, seeded; checks that the blocks arrive once and in order. */
function simulate(agreement: Agreement, sizeBytes: number, link: Link, seed: number): Outcome {
  let state = seed * 2_654_435_761 + 1;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const transfer = new Transfer(agreement, sizeBytes);
  const receiver = new Receiver(agreement.blockBytes, agreement.windowBlocks);
  const lastBytes = sizeBytes % agreement.blockBytes;
  const queue = new EventQueue();
  let deadlineMs = 0;
  let packets = 0;
  let heardAtMs = 0;
  let ended: number | undefined;
  let offered = agreement.answer.length === 0;

  const carry = (atMs: number, deliver: (nowMs: number) => void): void => {
    const copies = random() < link.loss ? 0 : random() < link.duplicate ? 2 : 1;
    for (let n = 0; n < copies; n++) queue.add(atMs + 1 + random() * link.jitterMs, deliver);
  };
  const toServer = (block: number, nowMs: number): void => {
    carry(nowMs, (at) => {
      perform(transfer.handle({ kind: 'ack', block }, at), at);
    });
  };
  const toClient = (block: number, nowMs: number): void => {
    packets += 1;
    const length = block === transfer.lastBlock ? lastBytes : agreement.blockBytes;
    carry(nowMs, (at) => {
      const { accepted, ack } = receiver.data(block & 0xffff, length);
      if (accepted) assert.equal(block, receiver.haveBlocks, 'a block out of its place');
      if (ack !== undefined) toServer(ack, at);
      heardAtMs = at;
    });
  };
  // The client's own timer: what it has, again, after a second of silence.
  const watch = (nowMs: number): void => {
    queue.add(nowMs + 1000, (at) => {
      if (ended !== undefined || receiver.done) return;
      if (at - heardAtMs >= 1000 && offered) toServer(receiver.ack(), at);
      watch(at);
    });
  };
  watch(0);
  const perform = (step: Step, nowMs: number): void => {
    const { send } = step;
    if (send?.kind === 'data') {
      for (let n = 0; n < send.blockCount; n++) toClient(send.firstBlock + n, nowMs);
    }
    if (send?.kind === 'oack') {
      carry(nowMs, (at) => {
        if (!offered || receiver.haveBlocks === 0) toServer(0, at);
        offered = true;
      });
    }
    if (step.deadlineMs !== undefined) {
      deadlineMs = step.deadlineMs;
      const due = deadlineMs;
      queue.add(due, (at) => {
        if (due === deadlineMs) perform(transfer.handle({ kind: 'timeout' }, at), at);
      });
    }
    if (step.ending !== undefined) ended ??= nowMs;
  };
  perform(transfer.handle({ kind: 'start' }, 0), 0);
  for (;;) {
    if (ended !== undefined) return { transfer, packets, receiver, endedAtMs: ended };
    assert.ok(queue.runNext(), 'nothing more happens, and no end');
  }
}

/** A heap of timed events; those of one moment run in the order they were added. */
class EventQueue {
  readonly #heap: { atMs: number; order: number; run: (nowMs: number) => void }[] = [];
  #added = 0;

  add(atMs: number, run: (nowMs: number) => void): void {
    let n = this.#heap.push({ atMs, order: this.#added++, run }) - 1;
    while (n > 0 && this.#before(n, (n - 1) >> 1)) {
      this.#swap(n, (n - 1) >> 1);
      n = (n - 1) >> 1;
    }
  }

  runNext(): boolean {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (top === undefined || last === undefined) return false;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink();
    }
    top.run(top.atMs);
    return true;
  }

  #sink(): void {
    for (let n = 0; ;) {
      let least = n;
      for (const child of [2 * n + 1, 2 * n + 2]) if (this.#before(child, least)) least = child;
      if (least === n) return;
      this.#swap(n, least);
      n = least;
    }
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#heap[a], this.#heap[b]];
    if (x === undefined || y === undefined) return false;
    return x.atMs < y.atMs || (x.atMs === y.atMs && x.order < y.order);
  }

  #swap(a: number, b: number): void {
    const [x, y] = [this.#heap[a], this.#heap[b]];
    if (x === undefined || y === undefined) return;
    this.#heap[a] = y;
    this.#heap[b] = x;
  }
}

test('every block size and window, over links that lose, repeat and reorder', () => {
  const links: Link[] = [
    { loss: 0, duplicate: 0, jitterMs: 0 },
    { loss: 0.01, duplicate: 0, jitterMs: 0.5 },
    { loss: 0, duplicate: 0.2, jitterMs: 0 },
    { loss: 0, duplicate: 0, jitterMs: 5 },
    { loss: 0.1, duplicate: 0.1, jitterMs: 3 },
    { loss: 0.3, duplicate: 0.1, jitterMs: 1 },
  ];
  for (const blockBytes of [8, 512, 1428, 8968]) {
    for (const windowBlocks of [1, 2, 4, 16, 64]) {
      for (const [n, link] of links.entries()) {
        for (const sizeBytes of [0, blockBytes - 1, blockBytes * 64, blockBytes * 300 + 7]) {
          const name = `${blockBytes}×${windowBlocks} link ${n} size ${sizeBytes}`;
          const agreement = agreed(blockBytes, windowBlocks);
          const { transfer, receiver, packets } = simulate(agreement, sizeBytes, link, n + 1);
          assert.ok(receiver.done, name);
          assert.equal(receiver.haveBlocks, transfer.lastBlock, name);
          assert.ok(packets >= transfer.lastBlock, name);
        }
      }
    }
  }
});

test('a link that only repeats packets costs nothing at window 1, little with windows', () => {
  for (const windowBlocks of [1, 4, 16]) {
    const link = { loss: 0, duplicate: 0.3, jitterMs: 0 };
    for (let seed = 1; seed <= 20; seed++) {
      const { transfer, packets } = simulate(agreed(512, windowBlocks), 512 * 2000, link, seed);
      if (windowBlocks === 1) assert.equal(packets, transfer.lastBlock);
      else assert.ok(packets < transfer.lastBlock * 1.5, `${packets} at ${windowBlocks}`);
    }
  }
});

test('block numbers wrap to 0 beyond 65535, with and without a window, and with loss', () => {
  for (const [windowBlocks, loss] of [
    [1, 0],
    [16, 0],
    [7, 0.002],
  ] as const) {
    const link = { loss, duplicate: 0, jitterMs: 0.2 };
    const { transfer, receiver } = simulate(agreed(8, windowBlocks), 8 * 140_000 + 3, link, 9);
    assert.equal(transfer.lastBlock, 140_001);
    assert.equal(receiver.haveBlocks, 140_001);
  }
});

test('1 % loss on a fast link costs round trips, not seconds', () => {
  const link = { loss: 0.01, duplicate: 0, jitterMs: 0 };
  const { endedAtMs, transfer } = simulate(agreed(1428), 1428 * 5000, link, 3);
  // 5000 round trips of 2 ms, and about a hundred time-outs of 20 ms.
  assert.ok(endedAtMs < 15_000, `${endedAtMs} ms`);
  assert.ok(transfer.retransmissions > 50);
});
