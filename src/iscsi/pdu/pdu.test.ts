import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DecodeError } from '#base/mod.ts';
import * as pdus from './mod.ts';
import type { Digests, Pdu } from './mod.ts';

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bit = fc.boolean();
const lun = fc.oneof(fc.integer({ min: 0, max: 0x3fff }), fc.constant(0xc101));
const stage = fc.integer({ min: 0, max: 3 });
const hex6 = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((b) => Buffer.from(b).toString('hex'));
const data = fc.uint8Array({ maxLength: 64 });
const sequence = { statSn: u32, expCmdSn: u32, maxCmdSn: u32 };
const tags = { initiatorTaskTag: u32, targetTransferTag: u32 };
const residual = fc.constantFrom('none' as const, 'overflow' as const, 'underflow' as const);
const stages = { transit: bit, more: bit, currentStage: stage, nextStage: stage };

/** Every PDU of the standard: codec and the values its fields can take. */
const CODECS = {
  NopOut: { immediate: bit, lun, ...tags, cmdSn: u32, expStatSn: u32, data },
  NopIn: { lun, ...tags, ...sequence, data },
  ScsiCommand: {
    immediate: bit,
    final: bit,
    read: bit,
    write: bit,
    attribute: fc.integer({ min: 0, max: 7 }),
    lun,
    initiatorTaskTag: u32,
    expectedLengthBytes: u32,
    cmdSn: u32,
    expStatSn: u32,
    cdb: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    extendedCdb: fc.uint8Array({ maxLength: 16 }),
    readLengthBytes: fc.option(u32),
    data,
  },
  ScsiResponse: {
    response: u8,
    status: u8,
    initiatorTaskTag: u32,
    ...sequence,
    expDataSn: u32,
    residual,
    residualBytes: u32,
    sense: data,
  },
  DataOut: {
    final: bit,
    lun,
    ...tags,
    expStatSn: u32,
    dataSn: u32,
    bufferOffsetBytes: u32,
    data,
  },
  DataIn: {
    final: bit,
    acknowledge: bit,
    hasStatus: bit,
    status: u8,
    lun,
    ...tags,
    ...sequence,
    dataSn: u32,
    bufferOffsetBytes: u32,
    residual,
    residualBytes: u32,
    data,
  },
  R2t: { lun, ...tags, ...sequence, r2tSn: u32, bufferOffsetBytes: u32, desiredLengthBytes: u32 },
  TaskManagementRequest: {
    immediate: bit,
    function: fc.integer({ min: 0, max: 127 }),
    lun,
    initiatorTaskTag: u32,
    referencedTaskTag: u32,
    cmdSn: u32,
    expStatSn: u32,
    refCmdSn: u32,
    expDataSn: u32,
  },
  TaskManagementResponse: { response: u8, initiatorTaskTag: u32, ...sequence },
  LoginRequest: {
    ...stages,
    versionMax: u8,
    versionMin: u8,
    isid: hex6,
    tsih: u16,
    initiatorTaskTag: u32,
    cid: u16,
    cmdSn: u32,
    expStatSn: u32,
    data,
  },
  LoginResponse: {
    ...stages,
    versionMax: u8,
    versionActive: u8,
    isid: hex6,
    tsih: u16,
    initiatorTaskTag: u32,
    ...sequence,
    status: u16,
    data,
  },
  TextRequest: {
    immediate: bit,
    final: bit,
    more: bit,
    lun,
    ...tags,
    cmdSn: u32,
    expStatSn: u32,
    data,
  },
  TextResponse: { final: bit, more: bit, lun, ...tags, ...sequence, data },
  LogoutRequest: {
    immediate: bit,
    reason: fc.integer({ min: 0, max: 127 }),
    initiatorTaskTag: u32,
    cid: u16,
    cmdSn: u32,
    expStatSn: u32,
  },
  LogoutResponse: {
    response: u8,
    initiatorTaskTag: u32,
    ...sequence,
    timeToWaitS: u16,
    timeToRetainS: u16,
  },
  SnackRequest: {
    type: fc.integer({ min: 0, max: 15 }),
    lun,
    ...tags,
    expStatSn: u32,
    begRun: u32,
    runLength: u32,
  },
  AsyncMessage: {
    lun,
    ...sequence,
    event: u8,
    vendorCode: u8,
    parameter1: u16,
    parameter2: u16,
    parameter3: u16,
    data,
  },
  Reject: { reason: u8, ...sequence, dataSn: u32, data },
} as const;

type Codec = { encode: (p: unknown) => Pdu; decode: (pdu: Pdu) => unknown };

function codecOf(name: string): Codec {
  const all = pdus as unknown as Record<string, unknown>;
  const [encode, decode] = [all[`encode${name}`], all[`decode${name}`]];
  assert.equal(typeof encode, 'function', name);
  assert.equal(typeof decode, 'function', name);
  return { encode, decode } as Codec;
}

const digests: fc.Arbitrary<Digests> = fc.record({ header: bit, data: bit });

test('every opcode of the standard has a codec that is tested', () => {
  assert.equal(Object.keys(CODECS).length, Object.keys(pdus.Opcode).length);
  const encoders = Object.keys(pdus).filter((k) => /^encode[A-Z]/.test(k) && k !== 'encodeAhs');
  assert.deepEqual(
    encoders.sort(),
    Object.keys(CODECS)
      .map((n) => `encode${n}`)
      .sort(),
  );
});

for (const [name, fields] of Object.entries(CODECS)) {
  test(`${name}: what is encoded is decoded, also through the wire`, () => {
    const { encode, decode } = codecOf(name);
    fc.assert(
      fc.property(fc.record(fields as Record<string, fc.Arbitrary<unknown>>), digests, (p, d) => {
        const decoded = decode(pdus.parsePdu(pdus.framePdu(encode(p), d), d));
        assert.deepEqual(plain(decoded), plain(p));
      }),
      { seed: 7143, numRuns: 200 },
    );
  });
}

/** Buffers and arrays of bytes compare by content. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_k, v: unknown) =>
      v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v,
    ),
  );
}

test('10^5 mutated PDUs either decode or throw DecodeError', () => {
  const names = Object.keys(CODECS);
  const seeds = names.flatMap((name) => {
    const { encode, decode } = codecOf(name);
    const fields = CODECS[name as keyof typeof CODECS] as Record<string, fc.Arbitrary<unknown>>;
    return fc.sample(fc.record(fields), { seed: 1, numRuns: 4 }).map((p) => ({
      decode,
      bytes: pdus.framePdu(encode(p), pdus.NO_DIGESTS),
    }));
  });
  let x = 7143;
  const random = (below: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  let decoded = 0;
  for (let i = 0; i < 100_000; i++) {
    const seed = seeds[i % seeds.length]!;
    const bytes = Uint8Array.from(seed.bytes);
    for (let n = random(4); n >= 0; n--) bytes[random(bytes.length)] = random(256);
    const cut = random(3) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
    try {
      seed.decode(pdus.parsePdu(cut, pdus.NO_DIGESTS));
      decoded += 1;
    } catch (e) {
      assert.ok(e instanceof DecodeError, String(e));
    }
  }
  assert.ok(decoded > 1000, `only ${decoded} decoded`);
});

test('every prefix of a PDU is refused, the whole is not', () => {
  const pdu = pdus.encodeNopOut({
    immediate: true,
    lun: 3,
    initiatorTaskTag: 1,
    targetTransferTag: 2,
    cmdSn: 3,
    expStatSn: 4,
    data: Uint8Array.of(1, 2, 3, 4, 5),
  });
  const both: Digests = { header: true, data: true };
  const bytes = pdus.framePdu(pdu, both);
  assert.equal(bytes.length, 48 + 4 + 8 + 4);
  for (let n = 0; n < bytes.length; n++) {
    assert.throws(() => pdus.parsePdu(bytes.subarray(0, n), both), DecodeError);
  }
  pdus.parsePdu(bytes, both);
  for (const at of [0, 20, 48, 55, 61]) {
    const bad = Uint8Array.from(bytes);
    bad[at]! ^= 1;
    assert.throws(() => pdus.parsePdu(bad, both), { name: 'DecodeError' });
  }
});

test('LUNs of other address methods are foreign', () => {
  assert.equal(pdus.lunNumber(0x00050000, 0), 5);
  assert.equal(pdus.lunNumber(0x41000000, 0), 256);
  assert.equal(pdus.lunNumber(0xc1010000, 0), 0xc101);
  for (const [high, low] of [
    [0x01050000, 0],
    [0x80050000, 0],
    [0x00050001, 0],
    [0x00050000, 1],
    [0xc1020000, 0],
  ]) {
    assert.equal(pdus.lunNumber(high!, low!), pdus.LUN_FOREIGN);
  }
});
