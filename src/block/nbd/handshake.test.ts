import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError, PolybootError, UserError } from '#base/mod.ts';
import { Handshake } from './handshake.ts';
import type { HandshakeStep } from './handshake.ts';

const HELLO = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])]);

function answer(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(20);
  header.write('0003e889045565a9', 'hex');
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const STRUCTURED = answer(8, 1);
const CONTEXT = Buffer.concat([
  answer(10, 4, Buffer.concat([hex('00000005'), Buffer.from('base:allocation')])),
  answer(10, 1),
]);
/** 1 MiB; has flags, flush, FUA, write zeroes. */
const EXPORT = answer(7, 3, hex('0000 0000000000100000 004d'));
const BLOCKS = answer(7, 3, hex('0003 00000200 00001000 02000000'));
const GO = Buffer.concat([EXPORT, BLOCKS, answer(7, 1)]);
const WHOLE = Buffer.concat([HELLO, STRUCTURED, CONTEXT, GO, Buffer.from('rest')]);

function run(bytes: Buffer, piece: number): HandshakeStep {
  const handshake = new Handshake('disk');
  let step: HandshakeStep = { kind: 'more', send: [] };
  for (let at = 0; at < bytes.length; at += piece) {
    step = handshake.receive(bytes.subarray(at, at + piece));
    if (step.kind === 'done') return step;
  }
  return step;
}

test('handshake_whole: in pieces of any length it agrees on the same', () => {
  for (const piece of [1, 2, 3, 7, 19, 20, 21, 64, WHOLE.length]) {
    const step = run(WHOLE, piece);
    assert.equal(step.kind, 'done');
    if (step.kind !== 'done') continue;
    assert.deepEqual(step.export, {
      sizeBytes: 1024 * 1024,
      readOnly: false,
      canFlush: true,
      canFua: true,
      canZero: true,
      minimumBlockBytes: 512,
      preferredBlockBytes: 4096,
      payloadBytesMax: 32 * 1024 * 1024,
      structured: true,
      allocationContext: 5,
    });
    assert.ok('rest'.startsWith(step.rest.toString()));
  }
  for (let end = 0; end < WHOLE.length - 4; end++) {
    assert.equal(run(WHOLE.subarray(0, end), 16).kind, 'more');
  }
});

test('handshake_sends what the protocol asks for, in turn', () => {
  const handshake = new Handshake('disk');
  const sent = (bytes: Buffer): string => {
    const step = handshake.receive(bytes);
    assert.equal(step.kind, 'more');
    return step.kind === 'more' ? Buffer.concat(step.send).toString('hex') : '';
  };
  const option = Buffer.from('IHAVEOPT').toString('hex');
  assert.equal(sent(HELLO), `00000003${option}0000000800000000`);
  const name = Buffer.from('disk').toString('hex');
  const query = Buffer.from('base:allocation').toString('hex');
  assert.equal(
    sent(STRUCTURED),
    `${option}0000000a0000001f00000004${name}000000010000000f${query}`,
  );
  assert.equal(sent(CONTEXT), `${option}000000070000000c00000004${name}00010003`);
});

test('handshake_plain: a server without structured replies, contexts or block sizes', () => {
  const step = run(Buffer.concat([HELLO, answer(8, 0x80000001), EXPORT, answer(7, 1)]), 1000);
  assert.equal(step.kind, 'done');
  if (step.kind !== 'done') return;
  assert.equal(step.export.structured, false);
  assert.equal(step.export.allocationContext, null);
  assert.equal(step.export.minimumBlockBytes, 1);
});

const at = (...parts: Buffer[]): Buffer => Buffer.concat([HELLO, STRUCTURED, CONTEXT, ...parts]);

test('handshake_refused: what a person can act on is told so', () => {
  const cases: readonly (readonly [Buffer, string])[] = [
    [hex('4e42444d41474943 0000420281861253 0000000000100000'), 'nbd-old'],
    [Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 0])]), 'nbd-old'],
    [at(answer(7, 0x80000001)), 'nbd-old'],
    [Buffer.concat([HELLO, answer(8, 0x80000005)]), 'nbd-tls'],
    [at(answer(7, 0x80000005)), 'nbd-tls'],
    [at(answer(7, 0x80000006, Buffer.from('no \u001b[31msuch'))), 'nbd-export'],
    [at(answer(7, 0x80000002)), 'nbd-refused'],
  ];
  for (const [bytes, code] of cases) {
    assert.throws(
      () => run(bytes, 1000),
      (e) => e instanceof UserError && e.code === code && !e.message.includes('\u001b'),
      code,
    );
  }
});

test('handshake_garbage: everything else is a decode error', () => {
  const cases: readonly Buffer[] = [
    Buffer.from('H'),
    Buffer.from('SSH-2.0-OpenSSH'),
    Buffer.from('NBDMAGICX'),
    Buffer.concat([HELLO, answer(7, 1)]), // not what was asked
    Buffer.concat([HELLO, answer(8, 3)]),
    Buffer.concat([HELLO, Buffer.alloc(20)]),
    at(answer(7, 1)), // no size
    at(answer(7, 9)),
    at(answer(7, 3)),
    at(answer(7, 3, hex('0000 00'))),
    at(answer(7, 3, hex('0000 ffffffffffffffff 0001'))), // 2^64 - 1 bytes
    at(answer(7, 3, hex('0003 00000003 00001000 00100000'))),
    at(answer(7, 3, hex('0003 00000000 00001000 00100000'))),
    at(answer(7, 3, hex('0003 00100000 00100000 00100000'))),
    at(answer(7, 3, hex('0003 00001000 00000200 00100000'))),
    at(answer(7, 3, hex('0003 00001000 00001000 00000200'))),
    at(answer(7, 3, Buffer.alloc(5000))),
    at(hex('0003e889045565a9 00000007 00000003 ffffffff')),
    at(...Array.from({ length: 65 }, () => EXPORT)),
    Buffer.concat([HELLO, STRUCTURED, answer(10, 4, hex('00'))]),
  ];
  for (const bytes of cases) {
    assert.throws(() => run(bytes, 1000), DecodeError, bytes.toString('latin1'));
  }
});

test('handshake_mutated: 100,000 damaged conversations end in a result or a typed error', () => {
  let seed = 99;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % n;
  };
  let refused = 0;
  for (let i = 0; i < 100_000; i++) {
    const bytes = Buffer.from(WHOLE);
    for (let n = random(3); n >= 0; n--) bytes[random(bytes.length)] = random(256);
    try {
      run(bytes, 1 + random(WHOLE.length));
    } catch (e) {
      assert.ok(e instanceof PolybootError && (e instanceof DecodeError || e instanceof UserError));
      refused += 1;
    }
  }
  assert.ok(refused > 50_000, `${refused}`);
});
