import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { Command } from './protocol.ts';
import { ReplyReader } from './reply.ts';
import type { Awaited } from './reply.ts';

const CONTEXT = 7;

function awaited(command: number, offsetBytes: number, lengthBytes: number): Awaited {
  return {
    command,
    offsetBytes,
    lengthBytes,
    into: command === Command.READ ? Buffer.alloc(lengthBytes + 16, 0xee) : null,
    at: 8,
    covered: [],
    error: 0,
    errorText: '',
    extents: null,
  };
}

function requests(): Awaited[] {
  return [
    awaited(Command.READ, 4096, 64),
    awaited(Command.READ, 2 ** 40, 32),
    awaited(Command.WRITE, 0, 512),
    awaited(Command.FLUSH, 0, 0),
    awaited(Command.BLOCK_STATUS, 0, 8192),
    awaited(Command.READ, 0, 16),
    awaited(Command.WRITE, 0, 16),
  ];
}

function chunk(
  cookie: number,
  type: number,
  done: boolean,
  ...fields: (Buffer | bigint | number)[]
) {
  const payload = Buffer.concat(
    fields.map((f) => {
      if (Buffer.isBuffer(f)) return f;
      const bytes = Buffer.alloc(typeof f === 'bigint' ? 8 : 4);
      if (typeof f === 'bigint') bytes.writeBigUInt64BE(f);
      else bytes.writeUInt32BE(f);
      return bytes;
    }),
  );
  const header = Buffer.alloc(20);
  header.writeUInt32BE(0x668e33ef, 0);
  header.writeUInt16BE(done ? 1 : 0, 4);
  header.writeUInt16BE(type, 6);
  header.writeUInt32BE(1, 8);
  header.writeUInt32BE(cookie, 12);
  header.writeUInt32BE(payload.length, 16);
  return Buffer.concat([header, payload]);
}

function simple(cookie: number, error: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(0x67446698, 0);
  header.writeUInt32BE(error, 4);
  header.writeUInt32BE(1, 8);
  header.writeUInt32BE(cookie, 12);
  return Buffer.concat([header, data]);
}

const text = Buffer.concat([Buffer.from([0, 4]), Buffer.from('full')]);

/** Every kind of reply that a server of ours can send. */
const STRUCTURED = Buffer.concat([
  chunk(0, 1, false, 4096n + 32n, Buffer.alloc(32, 2)),
  chunk(4, 5, true, CONTEXT, 4096, 0, 4096, 3),
  chunk(0, 1, false, 4096n, Buffer.alloc(16, 1)),
  chunk(0, 2, true, 4096n + 16n, 16),
  simple(2, 28),
  chunk(1, 1, true, BigInt(2 ** 40), Buffer.alloc(32, 3)),
  simple(3, 0),
  chunk(5, 0x8002, false, 5, Buffer.from([0, 0]), 4n),
  chunk(5, 0, true),
  chunk(6, 0x8001, true, 28, text),
]);

const PLAIN = Buffer.concat([
  simple(0, 0, Buffer.alloc(64, 1)),
  simple(2, 0),
  simple(5, 5),
  simple(1, 0, Buffer.alloc(32, 2)),
]);

type Heard = [cookie: number, error: number, text: string];

function run(bytes: Buffer, piece: number, structured: boolean) {
  const all = requests();
  const open = new Set(all.keys());
  const heard: Heard[] = [];
  const reader = new ReplyReader(
    {
      awaited: (high, low) => (high === 1 && open.has(low) ? all[low] : undefined),
      finished: (request, error, said) => {
        const cookie = all.indexOf(request);
        assert.ok(open.delete(cookie), 'each request ends once');
        heard.push([cookie, error, said]);
      },
    },
    structured,
    CONTEXT,
  );
  for (let at = 0; at < bytes.length; at += piece) {
    const part = Buffer.from(bytes.subarray(at, at + piece));
    reader.push(part, part.length);
    part.fill(0xdd); // the receive buffer is used again
  }
  return { all, heard };
}

test('reply_structured: in pieces of any length', () => {
  for (const piece of [1, 2, 3, 5, 19, 20, 21, 63, STRUCTURED.length]) {
    const { all, heard } = run(STRUCTURED, piece, true);
    assert.deepEqual(heard, [
      [4, 0, ''],
      [0, 0, ''],
      [2, 28, ''],
      [1, 0, ''],
      [3, 0, ''],
      [5, 5, ''],
      [6, 28, 'full'],
    ]);
    const parts = [
      Buffer.alloc(8, 0xee),
      Buffer.alloc(16, 1),
      Buffer.alloc(16),
      Buffer.alloc(32, 2),
    ];
    const want = Buffer.concat([...parts, Buffer.alloc(8, 0xee)]);
    assert.ok(want.equals(all[0]?.into ?? Buffer.alloc(0)));
    assert.deepEqual(all[4]?.extents, [4096, 0, 4096, 3]);
  }
});

test('reply_simple: in pieces of any length', () => {
  for (const piece of [1, 15, 16, 17, PLAIN.length]) {
    const { all, heard } = run(PLAIN, piece, false);
    assert.deepEqual(
      heard.map(([cookie, error]) => [cookie, error]),
      [
        [0, 0],
        [2, 0],
        [5, 5],
        [1, 0],
      ],
    );
    assert.equal(all[1]?.into?.[8], 2);
  }
});

test('reply_prefix: no prefix is an error, and none ends a request early', () => {
  const { heard: all } = run(STRUCTURED, STRUCTURED.length, true);
  let before = 0;
  for (let end = 0; end <= STRUCTURED.length; end++) {
    const { heard } = run(STRUCTURED.subarray(0, end), 1000, true);
    assert.deepEqual(heard, all.slice(0, heard.length));
    assert.ok(heard.length === before || heard.length === before + 1, `at ${end}`);
    before = heard.length;
  }
  assert.equal(before, all.length);
});

test('reply_unwanted: data for a call that was given up goes nowhere', () => {
  const request = awaited(Command.READ, 0, 16);
  const memory = request.into;
  request.into = null;
  let ended = false;
  const sink = { awaited: () => request, finished: () => (ended = true) };
  const bytes = chunk(0, 1, true, 0n, Buffer.alloc(16, 5));
  new ReplyReader(sink, true, CONTEXT).push(bytes, bytes.length);
  assert.ok(ended && memory?.every((b) => b === 0xee));
});

test('reply_lies: each is a decode error', () => {
  const cases: readonly (readonly [string, Buffer, boolean?])[] = [
    ['magic', Buffer.from('what')],
    ['not agreed on', chunk(0, 0, true), false],
    ['simple read', simple(0, 0, Buffer.alloc(64)), true],
    ['unknown cookie', simple(99, 0)],
    ['twice', Buffer.concat([simple(2, 0), simple(2, 0)])],
    ['empty but not done', chunk(0, 0, false)],
    ['NONE with payload', chunk(2, 0, true, 1)],
    ['no data', chunk(0, 1, true, 4096n)],
    ['data for a write', chunk(2, 1, true, 0n, Buffer.alloc(8))],
    ['hole for a flush', chunk(3, 2, true, 0n, 8)],
    ['empty hole', chunk(0, 2, true, 4096n, 0)],
    ['offset beyond 2^53', chunk(0, 1, true, 2n ** 63n, Buffer.alloc(8))],
    ['error too short', chunk(0, 0x8001, true, 5)],
    ['error text too long', chunk(0, 0x8001, true, 5, Buffer.from([255, 255]))],
    ['state of another context', chunk(4, 5, true, 8, 4096, 0)],
    ['state without extents', chunk(4, 5, true, CONTEXT)],
    ['state cut', chunk(4, 5, true, CONTEXT, 4096)],
    ['extent of length 0', chunk(4, 5, true, CONTEXT, 0, 0)],
    [
      'state twice',
      Buffer.concat([chunk(4, 5, false, CONTEXT, 1, 0), chunk(4, 5, true, CONTEXT, 1, 0)]),
    ],
    ['state left out', chunk(4, 0, true)],
    ['state left out, simply', simple(4, 0)],
  ];
  for (const [what, bytes, structured] of cases) {
    assert.throws(() => run(bytes, 1000, structured ?? true), DecodeError, what);
  }
});

test('reply_pieces: a read in a thousand disordered pieces is refused, with bounded work', () => {
  const request = awaited(Command.READ, 0, 4096);
  const sink = { awaited: () => request, finished: () => undefined };
  const reader = new ReplyReader(sink, true, CONTEXT);
  assert.throws(() => {
    for (let i = 4094; i > 0; i -= 2) {
      const bytes = chunk(0, 1, false, BigInt(i), Buffer.from([1]));
      reader.push(bytes, bytes.length);
    }
  }, DecodeError);
});

test('reply_mutated: 100,000 damaged streams end in decode errors or in what was sent', () => {
  let seed = 5;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % n;
  };
  let refused = 0;
  for (let i = 0; i < 100_000; i++) {
    const structured = random(4) > 0;
    const bytes = Buffer.from(structured ? STRUCTURED : PLAIN);
    for (let n = random(3); n >= 0; n--) bytes[random(bytes.length)] = random(256);
    try {
      for (const request of run(bytes, 1 + random(bytes.length), structured).all) {
        const { into } = request;
        if (into === null) continue;
        assert.ok(into.subarray(0, 8).every((b) => b === 0xee));
        assert.ok(into.subarray(into.length - 8).every((b) => b === 0xee));
      }
    } catch (e) {
      assert.ok(e instanceof DecodeError, String(e));
      refused += 1;
    }
  }
  assert.ok(refused > 50_000, `${refused}`);
});
