import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DecodeError } from '#base/mod.ts';
import { text, u8 } from './options/basic.ts';
import { OPTION } from './options/codes.ts';
import { bytesOf, ipxeOptions, pxeOptions, requestOf } from './fixtures.ts';
import { BOOT_REPLY, decodePacket, emptyPacket, encodePacket, HEADER } from './packet.ts';

const WITH_RELAY = bytesOf({
  giaddr: '10.78.0.1',
  options: [
    ...ipxeOptions(7),
    [OPTION.relayAgent, Buffer.from('010474657374', 'hex')],
    [224, Buffer.from('private')],
  ],
});

function decodes(bytes: Uint8Array): boolean {
  try {
    decodePacket(bytes);
    return true;
  } catch (e) {
    assert.ok(e instanceof DecodeError, String(e));
    assert.ok(e.offset >= 0 && e.offset <= bytes.length, `offset ${e.offset} of ${bytes.length}`);
    return false;
  }
}

test('decode, encode, decode gives the same packet, unknown options included', () => {
  const once = decodePacket(WITH_RELAY);
  assert.deepEqual(Buffer.from(once.options.get(224) ?? []), Buffer.from('private'));
  const twice = decodePacket(encodePacket(once));
  assert.deepEqual(twice, decodePacket(encodePacket(twice)));
  assert.deepEqual(new Set(twice.options.keys()), new Set(once.options.keys()));
  for (const [code, value] of once.options) {
    assert.deepEqual(Buffer.from(twice.options.get(code) ?? []), Buffer.from(value), `${code}`);
  }
});

test('any packet survives encode and decode', () => {
  const option = fc.tuple(fc.integer({ min: 1, max: 254 }), fc.uint8Array({ maxLength: 600 }));
  const codes = fc.uniqueArray(option, { selector: ([code]) => code, maxLength: 12 });
  fc.assert(
    fc.property(
      codes,
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.string(),
      (options, xid, name) => {
        const packet = requestOf({ xid, options: options.filter(([c]) => c !== OPTION.overload) });
        packet.file = Buffer.from(name.replaceAll('\0', ''), 'latin1')
          .toString('latin1')
          .slice(0, 128);
        const back = decodePacket(encodePacket(packet));
        assert.equal(back.xid, xid);
        assert.equal(back.file, packet.file);
        assert.deepEqual(
          new Map([...back.options].map(([c, v]) => [c, Buffer.from(v).toString('hex')])),
          new Map([...packet.options].map(([c, v]) => [c, Buffer.from(v).toString('hex')])),
        );
      },
    ),
    { numRuns: 300, seed: 1 },
  );
});

test('adversary 1: every prefix of a packet decodes or throws DecodeError', () => {
  let good = 0;
  for (let length = 0; length <= WITH_RELAY.length; length++) {
    if (decodes(WITH_RELAY.subarray(0, length))) good += 1;
  }
  assert.ok(good > 0 && good < WITH_RELAY.length - HEADER.options, `${good} prefixes decoded`);
});

test('adversary 1: 100,000 mutated packets decode or throw DecodeError', () => {
  const seeds = [WITH_RELAY, bytesOf({ options: pxeOptions(0) }), bytesOf({ type: 3 })];
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  let good = 0;
  for (let n = 0; n < 100_000; n++) {
    const bytes = Buffer.from(seeds[n % seeds.length] ?? WITH_RELAY);
    const from = n % 2 === 0 ? HEADER.options : 0;
    for (let k = 0; k <= n % 4; k++) bytes[from + random(bytes.length - from)] = random(256);
    if (decodes(bytes.subarray(0, bytes.length - random(8)))) good += 1;
  }
  assert.ok(good > 10_000 && good < 100_000, `${good} decoded`);
});

test('adversary 2: hlen 200, op 3, a wrong cookie, a length past the end, 255 soup', () => {
  const spoil = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(WITH_RELAY);
    bytes[at] = value;
    return bytes;
  };
  assert.throws(() => decodePacket(spoil(HEADER.hlen, 200)), { code: 'hlen' });
  assert.equal(decodePacket(spoil(HEADER.hlen, 16)).hlen, 16);
  assert.equal(decodePacket(spoil(HEADER.hlen, 0)).hlen, 0);
  assert.throws(() => decodePacket(spoil(HEADER.op, 3)), { code: 'op' });
  assert.throws(() => decodePacket(spoil(HEADER.cookie, 0)), { code: 'cookie' });
  const long = Buffer.alloc(300);
  WITH_RELAY.copy(long, 0, 0, HEADER.options);
  long.set([53, 200, 1], HEADER.options);
  assert.throws(() => decodePacket(long), { code: 'option-length', offset: HEADER.options + 1 });
  const soup = Buffer.alloc(600, 255);
  WITH_RELAY.copy(soup, 0, 0, HEADER.options);
  assert.equal(decodePacket(soup).options.size, 0);
});

test('adversary 2: option 52 gives file and sname to options, and bad contents are refused', () => {
  const bytes = bytesOf({ options: [[OPTION.overload, u8(3)]] });
  bytes.set([67, 3, 97, 98, 99, 255], HEADER.file);
  bytes.set([67, 2, 100, 101, 255], HEADER.sname);
  const packet = decodePacket(bytes);
  assert.equal(packet.file, '');
  assert.equal(packet.sname, '');
  // RFC 3396 §5: options, then file, then sname.
  assert.equal(Buffer.from(packet.options.get(67) ?? []).toString(), 'abcde');
  assert.equal(packet.options.has(OPTION.overload), false);
  bytes.set([67, 200], HEADER.file);
  assert.throws(() => decodePacket(bytes), { code: 'option-length' });
  for (const bad of [Uint8Array.of(0), Uint8Array.of(4), Uint8Array.of(), Uint8Array.of(1, 1)]) {
    const worse = bytesOf({ options: [[OPTION.overload, bad]] });
    assert.throws(() => decodePacket(worse), { code: 'overload' });
  }
});

test('RFC 3396: a long option is split on the wire and joined again', () => {
  const long = Buffer.from(Array.from({ length: 700 }, (_, n) => n & 255));
  const packet = requestOf({ options: [[119, long]] });
  const bytes = encodePacket(packet);
  assert.equal(bytes.filter((b, n) => b === 119 && bytes[n + 1] === 255).length >= 2, true);
  assert.deepEqual(Buffer.from(decodePacket(bytes).options.get(119) ?? []), long);
});

test('adversary 3: option 82 of 255 bytes is echoed byte for byte, and stands last', () => {
  const relay = Buffer.from(Array.from({ length: 255 }, (_, n) => (n * 7) & 255));
  const packet = emptyPacket(BOOT_REPLY);
  packet.options.set(OPTION.relayAgent, relay);
  packet.options.set(OPTION.messageType, u8(2));
  packet.options.set(OPTION.domainName, text('x'));
  const bytes = encodePacket(packet);
  assert.deepEqual([...bytes.subarray(HEADER.options, HEADER.options + 2)], [53, 1]);
  const end = bytes.lastIndexOf(Buffer.concat([u8(82), u8(255), relay, u8(255)]));
  assert.ok(end > 0);
  assert.ok(bytes.subarray(end + 258).every((b) => b === 0));
});
