import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import { REQUEST_MAX_BYTES, decodePacket, encodePacket, type Packet } from './packet.ts';

const MESSAGES: Packet[] = [
  { op: 'rrq', name: 'pxelinux.0', mode: 'octet', options: [] },
  {
    op: 'rrq',
    name: 'EFI\\Boot\\bootx64.efi\u00ff',
    mode: 'octet',
    options: [
      ['tsize', '0'],
      ['blksize', '1468'],
      ['windowsize', '4'],
    ],
  },
  { op: 'wrq', name: 'x', mode: 'netascii', options: [['timeout', '3']] },
  { op: 'data', block: 65_535, bytes: Uint8Array.of(1, 2, 3) },
  { op: 'data', block: 0, bytes: new Uint8Array(0) },
  { op: 'ack', block: 258 },
  { op: 'error', code: 1, message: 'File not found' },
  { op: 'oack', options: [['blksize', '1468']] },
];

/** The message with its bytes as text, so that views of different arrays compare. */
function plain(packet: Packet): unknown {
  return packet.op === 'data'
    ? { ...packet, bytes: Buffer.from(packet.bytes).toString('hex') }
    : packet;
}

/** Decodes, and lets only the typed error pass. */
function decodeOrRefuse(bytes: Uint8Array): Packet | undefined {
  try {
    return decodePacket(bytes);
  } catch (e) {
    assert.ok(e instanceof DecodeError, String(e));
    assert.ok(e.offset >= 0 && e.offset <= bytes.length);
    return undefined;
  }
}

test('every message survives the way there and back', () => {
  for (const message of MESSAGES) {
    const bytes = encodePacket(message);
    const decoded = decodePacket(bytes);
    assert.deepEqual(plain(decoded), plain(message));
    assert.deepEqual(encodePacket(decoded), bytes);
  }
});

test('the bytes of RFC 1350 and 2347', () => {
  const request = Buffer.from('\u0000\u0001a/b\0OCTET\0BLKSIZE\x001024\0', 'latin1');
  assert.deepEqual(decodePacket(request), {
    op: 'rrq',
    name: 'a/b',
    mode: 'octet',
    options: [['blksize', '1024']],
  });
  assert.equal(encodePacket({ op: 'ack', block: 513 }).toString('hex'), '00040201');
});

test('every prefix decodes or is refused, with the offset', () => {
  for (const message of MESSAGES) {
    const bytes = encodePacket(message);
    for (let length = 0; length < bytes.length; length++) {
      const prefix = decodeOrRefuse(bytes.subarray(0, length));
      if (message.op === 'rrq' && message.options.length === 0) assert.equal(prefix, undefined);
    }
  }
});

test('what is refused, and why', () => {
  const refused = (text: string, code: string): void => {
    assert.throws(() => decodePacket(Buffer.from(text, 'latin1')), { code }, text);
  };
  refused('', 'truncated');
  refused('\0', 'truncated');
  refused('\0\u0000', 'opcode');
  refused('\0\u0007x', 'opcode');
  refused('\0\u0004\0', 'truncated');
  refused('\0\u0001name', 'unterminated');
  refused('\0\u0001name\0octet', 'unterminated');
  refused('\0\u0001\0octet\0', 'empty-name');
  refused('\0\u0001n\0octet\0blksize', 'unterminated');
  refused('\0\u0001n\0octet\0blksize\x001024', 'unterminated');
  refused(`\0\u0001${'n'.repeat(REQUEST_MAX_BYTES)}\0octet\0`, 'too-long');
  refused(`\0\u0001n\0octet\0${'o\x001\0'.repeat(33)}`, 'too-many-options');
});

test('padding after an ACK or a request is ignored', () => {
  assert.deepEqual(decodePacket(Buffer.from('000400070000000000', 'hex')), { op: 'ack', block: 7 });
  const padded = Buffer.from('\0\u0001n\0octet\0tsize\x000\0\0\0\0\0', 'latin1');
  assert.deepEqual(decodePacket(padded), {
    op: 'rrq',
    name: 'n',
    mode: 'octet',
    options: [['tsize', '0']],
  });
});

test('100,000 mutations: decoded, or refused with the typed error', () => {
  let seed = 0x7f7f;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const corpus = MESSAGES.map((m) => encodePacket(m));
  let refusals = 0;
  for (let n = 0; n < 100_000; n++) {
    const base = corpus[n % corpus.length] ?? Buffer.alloc(0);
    const bytes = Buffer.concat([base, Buffer.alloc(random(4))]);
    for (let m = random(4); m >= 0; m--) bytes[random(bytes.length)] = random(256);
    if (decodeOrRefuse(bytes.subarray(0, 1 + random(bytes.length))) === undefined) refusals += 1;
  }
  assert.ok(refusals > 10_000 && refusals < 90_000, `${refusals} refused`);
});
