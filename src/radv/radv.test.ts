import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { decodeSolicitation, encodeAdvertisement } from './codec.ts';
import { RouterResponder } from './responder.ts';

/** As iPXE sends it: with its hardware address. */
const SOLICITATION = Buffer.from('85000000000000000101525400000009', 'hex');
const CLIENT = 'fe80::5054:ff:fe00:9%br0';

test('a solicitation is read, and its hardware address found', () => {
  assert.deepEqual(
    Buffer.from(decodeSolicitation(SOLICITATION).linkLayer ?? []).toString('hex'),
    '525400000009',
  );
  assert.equal(decodeSolicitation(SOLICITATION.subarray(0, 8)).linkLayer, undefined);
});

test('every prefix and 100,000 mutations decode or throw DecodeError', () => {
  const decodes = (bytes: Uint8Array): boolean => {
    try {
      decodeSolicitation(bytes);
      return true;
    } catch (e) {
      assert.ok(e instanceof DecodeError);
      return false;
    }
  };
  const prefixes = Array.from({ length: 17 }, (_, n) => decodes(SOLICITATION.subarray(0, n)));
  assert.deepEqual(
    prefixes.flatMap((ok, n) => (ok ? [n] : [])),
    [8, 16],
  );
  let state = 3;
  let good = 0;
  for (let n = 0; n < 100_000; n++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const bytes = Buffer.concat([SOLICITATION, Buffer.alloc(n % 9)]);
    bytes[(state >>> 8) % bytes.length] = (state >>> 16) & 255;
    if (decodes(bytes)) good += 1;
  }
  assert.ok(good > 1000 && good < 100_000, `${good}`);
});

test('RFC 4861 §6.1.1: code 0, options of a length, no hardware address from ::', () => {
  const at = (offset: number, value: number): Buffer => {
    const bytes = Buffer.from(SOLICITATION);
    bytes[offset] = value;
    return bytes;
  };
  const answers = (bytes: Buffer, from = CLIENT): string => {
    const advice = new RouterResponder().receive(bytes, from, 0);
    return advice.kind === 'send' ? advice.to : advice.reason;
  };
  assert.equal(answers(SOLICITATION), CLIENT);
  assert.equal(answers(at(1, 1)), 'malformed');
  assert.equal(answers(at(0, 134)), 'malformed');
  assert.equal(answers(at(9, 0)), 'malformed');
  assert.equal(answers(at(9, 2)), 'malformed');
  assert.equal(answers(SOLICITATION, '::'), 'malformed');
  assert.equal(answers(SOLICITATION.subarray(0, 8), '::'), 'ff02::1');
  assert.equal(answers(SOLICITATION, '2001:db8::9'), 'not-local');
  assert.equal(answers(SOLICITATION, 'febf::9%eth0'), 'febf::9%eth0');
  assert.equal(answers(SOLICITATION, 'fec0::9'), 'not-local');
});

test('the advertisement: router lifetime 0, no flags, no options', () => {
  const bytes = encodeAdvertisement();
  assert.equal(bytes[0], 134);
  assert.equal(bytes.length, 16);
  assert.ok(bytes.subarray(1).every((b) => b === 0));
});

test('multicast answers are three seconds apart, unicast ones bounded per second', () => {
  const responder = new RouterResponder();
  const bare = SOLICITATION.subarray(0, 8);
  const kinds = [0, 100, 2999, 3000].map((ms) => responder.receive(bare, '::', ms).kind);
  assert.deepEqual(kinds, ['send', 'drop', 'drop', 'send']);
  let sent = 0;
  for (let n = 0; n < 1000; n++) {
    if (responder.receive(SOLICITATION, CLIENT, 5000).kind === 'send') sent += 1;
  }
  assert.equal(sent, 200);
  assert.equal(responder.receive(SOLICITATION, CLIENT, 6000).kind, 'send');
});
