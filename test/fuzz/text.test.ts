import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { KEY_BYTES_MAX, TEXT_BYTES_MAX, TEXT_KEYS_MAX, VALUE_BYTES_MAX } from '#iscsi/limits.ts';
import { TextCollector, TextSender, decodeText, encodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { Dice, Growth, cases } from './dice.ts';

const CASES = cases(20_000);

/** The same rules, written down a second time and as plainly as they go (RFC 7143 §6.1). */
function referenceText(bytes: Uint8Array): KeyValue[] | null {
  if (bytes.length > TEXT_BYTES_MAX) return null;
  if (bytes.length > 0 && bytes[bytes.length - 1] !== 0) return null;
  const pairs: KeyValue[] = [];
  for (const part of splitAtZero(bytes)) {
    if (part.length === 0) continue;
    const equals = part.indexOf(0x3d);
    if (equals < 0) return null;
    const key = part.subarray(0, equals);
    const value = part.subarray(equals + 1);
    if (key.length === 0 || key.length > KEY_BYTES_MAX || value.length > VALUE_BYTES_MAX)
      return null;
    if (!/^[A-Za-z0-9.+@_/#-]+$/.test(key.toString('latin1'))) return null;
    const text = value.toString('utf8');
    if (!Buffer.from(text, 'utf8').equals(value)) return null;
    pairs.push([key.toString('latin1'), text]);
  }
  return pairs.length > TEXT_KEYS_MAX ? null : pairs;
}

function splitAtZero(bytes: Uint8Array): Buffer[] {
  const whole = Buffer.from(bytes);
  const parts: Buffer[] = [];
  for (let at = 0; at < whole.length;) {
    const end = whole.indexOf(0, at);
    parts.push(whole.subarray(at, end < 0 ? whole.length : end));
    at = end < 0 ? whole.length : end + 1;
  }
  return parts;
}

const PIECES = ['=', '\0', '\0\0', 'Key=Value\0', 'a=\0', '=b\0', 'k=\u00e9\u4e2d\0', ' ', 'x'];

function randomText(dice: Dice): Buffer {
  const parts: Buffer[] = [];
  for (let n = dice.roll(8); n > 0; n--) {
    const kind = dice.roll(12);
    if (kind === 0) parts.push(Buffer.from(dice.bytes(dice.roll(20))));
    else if (kind === 1) parts.push(Buffer.from(`${'k'.repeat(60 + dice.roll(6))}=1\0`));
    else if (kind === 2 && dice.once(8)) {
      parts.push(Buffer.from(`v=${'v'.repeat(8188 + dice.roll(8))}\0`));
    } else if (kind === 3 && dice.once(4)) {
      parts.push(Buffer.from('a=1\0'.repeat(120 + dice.roll(16))));
    } else parts.push(Buffer.from(dice.pick(PIECES)));
  }
  const whole = Buffer.concat(parts);
  if (whole.length > 0 && dice.once(4)) whole[dice.roll(whole.length)] = dice.roll(256);
  return whole;
}

function attempt<T>(what: () => T): T | null {
  try {
    return what();
  } catch (e) {
    assert.ok(e instanceof DecodeError, `a typed error: ${String(e)}`);
    return null;
  }
}

test(`fuzz: text keys: ${CASES} texts are read as the standard reads them, however cut`, () => {
  const dice = new Dice(0x3720);
  const growth = new Growth(CASES);
  let read = 0;
  for (let n = 0; n < CASES; n++) {
    const text = randomText(dice);
    const shown = text.toString('latin1').slice(0, 200);
    const expected = referenceText(text);
    assert.deepEqual(
      attempt(() => decodeText(text)),
      expected,
      shown,
    );
    const at = dice.roll(text.length + 1);
    const split = attempt(() => {
      const collector = new TextCollector();
      assert.equal(collector.add(text.subarray(0, at), true), null);
      return collector.add(text.subarray(at), false);
    });
    assert.deepEqual(split, expected, `cut at ${at}: ${shown}`);
    if (expected !== null) {
      read += 1;
      assert.deepEqual(decodeText(sentInPieces(expected, 1 + dice.roll(64))), expected);
    }
    growth.after(n);
  }
  assert.ok(read > CASES / 10, `${read} of them are text`);
});

/** What comes out of a sender that may send so many bytes at a time. */
function sentInPieces(pairs: readonly KeyValue[], limitBytes: number): Buffer {
  const sender = new TextSender(pairs);
  const parts: Uint8Array[] = [];
  for (;;) {
    const { data, more } = sender.next(limitBytes);
    assert.ok(data.length <= limitBytes);
    parts.push(Uint8Array.from(data));
    if (!more) break;
  }
  const whole = Buffer.concat(parts);
  assert.ok(whole.equals(Buffer.from(encodeText(pairs))));
  return whole;
}
