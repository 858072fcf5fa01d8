import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { TEXT_BYTES_MAX } from './limits.ts';
import { TextCollector, TextSender, decodeText, encodeText, parseBinary } from './text.ts';
import { parseNumber } from './text.ts';
import type { KeyValue } from './text.ts';

const PAIRS: readonly KeyValue[] = [
  ['InitiatorName', 'iqn.2026-11.test:x'],
  ['X-com.example.empty', ''],
  ['TargetAlias', 'a=b, with ütf-8'],
];

test('pairs survive, however the text is cut by the C bit', () => {
  const bytes = encodeText(PAIRS);
  assert.deepEqual(decodeText(bytes), PAIRS);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const collector = new TextCollector();
    assert.equal(collector.add(bytes.subarray(0, cut), true), null);
    assert.ok(collector.pending);
    assert.deepEqual(collector.add(bytes.subarray(cut), false), PAIRS);
    assert.ok(!collector.pending);
  }
});

test('the collector does not keep the memory it was lent', () => {
  const collector = new TextCollector();
  const lent = Buffer.from(encodeText([['A', '1']]));
  collector.add(lent, true);
  lent.fill(0xee);
  assert.deepEqual(collector.add(new Uint8Array(0), false), [['A', '1']]);
});

test('long text is sent in pieces that collect to the same', () => {
  const pairs = Array.from({ length: 50 }, (_, i): KeyValue => [`Key${i}`, 'v'.repeat(i)]);
  const [sender, collector] = [new TextSender(pairs), new TextCollector()];
  for (;;) {
    const { data, more } = sender.next(100);
    const got = collector.add(data, more);
    if (got === null) continue;
    assert.deepEqual(got, pairs);
    assert.ok(sender.done);
    break;
  }
});

test('malformed text says where', () => {
  const cases: [string, number][] = [
    ['A=1\0B=2', 4],
    ['A\0', 0],
    ['=1\0', 0],
    ['A=1\0B b=2\0', 4],
    [`${'K'.repeat(64)}=1\0`, 0],
    [`K=${'v'.repeat(8193)}\0`, 0],
  ];
  for (const [text, offset] of cases) {
    assert.throws(
      () => decodeText(Buffer.from(text)),
      (e) => e instanceof DecodeError && e.offset === offset,
      text,
    );
  }
  assert.throws(() => decodeText(Uint8Array.of(0x41, 0x3d, 0xff, 0)), DecodeError);
  assert.throws(() => decodeText(Buffer.from('A=1\0'.repeat(200))), DecodeError);
});

test('64 KiB of text is the end', () => {
  const collector = new TextCollector();
  const piece = new Uint8Array(8192).fill(0x41);
  for (let n = 0; n < TEXT_BYTES_MAX / piece.length; n++) collector.add(piece, true);
  assert.throws(() => collector.add(Uint8Array.of(0), true), { code: 'text-too-long' });
});

test('numbers and binary values', () => {
  const numbers: [string, number | undefined][] = [
    ['0', 0],
    ['8192', 8192],
    ['0x10', 16],
    ['0XfF', 255],
    ['-1', undefined],
    ['1.5', undefined],
    ['01', undefined],
    ['', undefined],
    ['99999999999', undefined],
  ];
  for (const [text, value] of numbers) assert.equal(parseNumber(text), value, text);
  const hex = (text: string): string | undefined => {
    const bytes = parseBinary(text, 4);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString('hex');
  };
  assert.equal(hex('0x0aFF'), '0aff');
  assert.equal(hex('0bCv8='), '0aff');
  for (const bad of ['0x', '0x1', '0xzz', '0b', '0b=', '0bA', '12', '', '0x0102030405']) {
    assert.equal(hex(bad), undefined, bad);
  }
});

test('10^5 mutated texts either decode or throw DecodeError', () => {
  const seed = encodeText(PAIRS);
  let x = 1;
  const random = (below: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  let decoded = 0;
  for (let i = 0; i < 100_000; i++) {
    const bytes = Uint8Array.from(seed);
    for (let n = random(3); n >= 0; n--) bytes[random(bytes.length)] = random(256);
    try {
      decodeText(bytes);
      decoded += 1;
    } catch (e) {
      assert.ok(e instanceof DecodeError);
    }
  }
  assert.ok(decoded > 1000);
});
