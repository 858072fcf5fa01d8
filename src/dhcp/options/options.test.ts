import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecodeError } from '#base/mod.ts';
import {
  getIpv4List,
  getText,
  getU16,
  getU32,
  getU8,
  ipv4List,
  terminated,
  text,
} from './basic.ts';
import { clientArchitecture, clientIdentifier, clientUuid, isIpxe, userClasses } from './client.ts';
import { OPTION } from './codes.ts';
import { decodeIpxe, encodeIpxe, IPXE } from './ipxe.ts';
import { decodePxe, encodePxe, PXE, pxeMenu, pxePrompt } from './pxe.ts';
import { type Options, readOptions, wireBytes, writeOption } from './raw.ts';
import { relayInformation } from './relay.ts';

function of(code: number, ...bytes: number[]): Options {
  return new Map([[code, Uint8Array.from(bytes)]]);
}

function ofText(code: number, value: string): Options {
  return new Map([[code, Buffer.from(value, 'latin1')]]);
}

test('raw: what is written is read, at any split', () => {
  for (const length of [0, 1, 254, 255, 256, 510, 511]) {
    const value = Buffer.alloc(length, 7);
    const into = Buffer.alloc(1024, 255);
    const end = writeOption(into, 3, 200, value);
    assert.equal(end - 3, wireBytes(value));
    const options: Options = new Map();
    readOptions(into, 3, end, options);
    assert.deepEqual(Buffer.from(options.get(200) ?? []), value, `${length}`);
  }
});

test('basic: lengths that are wrong read as absent', () => {
  assert.equal(getU8(of(53), 53), undefined);
  assert.equal(getU8(of(53, 1, 1), 53), undefined);
  assert.equal(getU16(of(57, 5, 192), 57), 1472);
  assert.equal(getU32(of(50, 10, 77, 0, 5), 50), 0x0a4d0005);
  assert.equal(getU32(of(50, 10, 77, 0), 50), undefined);
  assert.deepEqual(getIpv4List(of(6, 1, 2, 3, 4, 5, 6, 7, 8), 6), [0x01020304, 0x05060708]);
  assert.equal(getIpv4List(of(6, 1, 2, 3), 6), undefined);
  assert.equal(getText(ofText(12, 'host\0junk'), 12), 'host');
  assert.equal(getText(ofText(12, ''), 12), undefined);
  assert.deepEqual([...ipv4List(['10.0.0.1', 'nonsense'])], [10, 0, 0, 1]);
  assert.deepEqual([...terminated('a')], [97, 0]);
});

test('user class: RFC 3004, bare, and what real firmware makes of it (adversary 10)', () => {
  const classes = (value: string): readonly string[] => userClasses(ofText(77, value));
  assert.deepEqual(classes('iPXE'), ['iPXE']);
  assert.deepEqual(classes('\u0004iPXE'), ['iPXE']);
  assert.deepEqual(classes('\u0004iPXE\u0003lab'), ['iPXE', 'lab']);
  assert.deepEqual(classes('gPXE'), ['gPXE']);
  assert.deepEqual(classes(''), []);
  assert.equal(isIpxe(classes('\u0009iPXE')), true, 'a count that does not add up');
  assert.equal(isIpxe(classes('\u0004iPXE\0')), true, 'an empty class behind');
  assert.equal(isIpxe(classes('\u0004gPXE')), true);
  assert.equal(isIpxe(classes('anaconda')), false);
  assert.equal(isIpxe(classes('')), false);
});

test('architecture: the first known value of the list (adversary 10)', () => {
  assert.equal(clientArchitecture(of(93, 0, 7)), 7);
  assert.equal(clientArchitecture(of(93, 0x99, 0x99, 0, 11)), 11);
  assert.equal(clientArchitecture(of(93, 0x99, 0x99)), 0x9999);
  assert.equal(clientArchitecture(of(93)), undefined);
  assert.equal(clientArchitecture(of(93, 7)), undefined);
});

test('UUID: wire order; absent, empty, short, of another type, or no identity at all', () => {
  const bytes = Array.from({ length: 16 }, (_, n) => n + 1);
  assert.equal(clientUuid(of(97, 0, ...bytes)), '01020304-0506-0708-090a-0b0c0d0e0f10');
  assert.equal(clientUuid(new Map()), undefined);
  assert.equal(clientUuid(of(97)), undefined);
  assert.equal(clientUuid(of(97, ...bytes)), undefined);
  assert.equal(clientUuid(of(97, 1, ...bytes)), undefined);
  assert.equal(clientUuid(of(97, 0, ...Array.from({ length: 16 }, () => 0))), undefined);
  assert.equal(clientUuid(of(97, 0, ...Array.from({ length: 16 }, () => 255))), undefined);
});

test('client identifier: hex with its type; RFC 2132 wants two bytes', () => {
  assert.equal(clientIdentifier(of(61, 1, 0xab)), '01ab');
  assert.equal(clientIdentifier(of(61, 1)), undefined);
});

test('relay information: known sub-options; a malformed tail is left alone', () => {
  const relay = relayInformation(of(82, 1, 2, 65, 66, 5, 4, 10, 0, 0, 1, 2, 200, 1));
  assert.deepEqual([...(relay?.circuitId ?? [])], [65, 66]);
  assert.equal(relay?.linkSelection, 0x0a000001);
  assert.equal(relay?.remoteId, undefined);
  assert.equal(relayInformation(new Map()), undefined);
});

test('PXE: sub-options there and back, with menu and prompt', () => {
  const block = encodePxe(
    new Map([
      [PXE.discoveryControl, Uint8Array.of(8)],
      [PXE.bootMenu, pxeMenu([{ type: 0x8000, text: 'local' }])],
      [PXE.menuPrompt, pxePrompt(255, 'F8')],
    ]),
  );
  const back = decodePxe(block);
  assert.deepEqual([...(back.get(6) ?? [])], [8]);
  assert.deepEqual([...(back.get(9) ?? [])], [0x80, 0, 5, ...Buffer.from('local')]);
  assert.deepEqual([...(back.get(10) ?? [])], [255, 70, 56]);
  assert.equal(block.at(-1), 255);
  assert.deepEqual([...decodePxe(Uint8Array.of(0, 0, 255, 9)).keys()], []);
});

test('PXE and iPXE: every prefix decodes or throws DecodeError', () => {
  const block = encodePxe(
    new Map([
      [6, Uint8Array.of(8)],
      [71, Uint8Array.of(0, 1, 0, 0)],
    ]),
  );
  for (const decode of [decodePxe, decodeIpxe]) {
    for (let length = 0; length < block.length; length++) {
      try {
        decode(block.subarray(0, length));
      } catch (e) {
        assert.ok(e instanceof DecodeError);
      }
    }
    assert.throws(() => decode(Uint8Array.of(6)), DecodeError);
    assert.throws(() => decode(Uint8Array.of(6, 9, 1)), DecodeError);
  }
});

test('PXE: a block beyond 255 bytes is our own fault', () => {
  const big = new Map([
    [9, Buffer.alloc(250)],
    [10, Buffer.alloc(10)],
  ]);
  assert.throws(() => encodePxe(big), { code: 'internal' });
});

test('iPXE: settings in 175, and no-pxedhcp only from the real server', () => {
  const further = new Map([[85, text('10.0.0.1')]]);
  const all = encodeIpxe({ priority: -1, keepSan: true, skipSanBoot: false, further }, true);
  const back = decodeIpxe(all ?? new Uint8Array());
  assert.deepEqual([...(back.get(IPXE.priority) ?? [])], [255]);
  assert.deepEqual([...(back.get(IPXE.keepSan) ?? [])], [1]);
  assert.deepEqual([...(back.get(IPXE.skipSanBoot) ?? [])], [0]);
  assert.deepEqual([...(back.get(IPXE.noPxeDhcp) ?? [])], [1]);
  assert.equal(Buffer.from(back.get(85) ?? []).toString(), '10.0.0.1');
  assert.equal(encodeIpxe(undefined, false), undefined);
  assert.equal(OPTION.ipxe, 175);
});
