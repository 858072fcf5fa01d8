import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_BYTES, encodeDataOut, encodeNopOut, encodeScsiCommand, framePdu } from './pdu/mod.ts';
import type { Digests, Pdu } from './pdu/mod.ts';
import { Receiver } from './receiver.ts';
import type { PduSink, ReceiveFault } from './receiver.ts';

/** Writes down what it is told, in a form that does not depend on how the bytes came. */
class Recorder implements PduSink {
  readonly pdus: string[] = [];
  #now = '';

  header(
    _view: DataView,
    bytes: Uint8Array,
    at: number,
    ahsBytes: number,
    dataBytes: number,
  ): void {
    const header = Buffer.from(bytes.subarray(at, at + 48 + ahsBytes)).toString('hex');
    this.#now = `${header} ${dataBytes} `;
  }

  data(bytes: Uint8Array, at: number, lengthBytes: number): void {
    this.#now += Buffer.from(bytes.subarray(at, at + lengthBytes)).toString('hex');
  }

  end(): void {
    this.pdus.push(this.#now);
  }

  fault(fault: ReceiveFault): void {
    this.pdus.push(fault);
  }
}

const common = { lun: 0, initiatorTaskTag: 1, targetTransferTag: 2, expStatSn: 3 };
const data = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => i * 7);
const COMMAND: Pdu = encodeScsiCommand({
  ...common,
  immediate: false,
  final: true,
  read: false,
  write: true,
  attribute: 1,
  expectedLengthBytes: 8,
  cmdSn: 9,
  cdb: data(16),
  extendedCdb: data(9),
  readLengthBytes: 1,
  data: data(8),
});
const PDUS: readonly Pdu[] = [
  encodeNopOut({ ...common, immediate: true, cmdSn: 1, data: NO_BYTES }),
  encodeNopOut({ ...common, immediate: true, cmdSn: 1, data: data(1) }),
  encodeDataOut({ ...common, final: true, dataSn: 0, bufferOffsetBytes: 0, data: data(67) }),
  COMMAND,
  encodeNopOut({ ...common, immediate: true, cmdSn: 1, data: data(4) }),
];

function receiver(digests: Digests): { receiver: Receiver; recorder: Recorder } {
  const recorder = new Recorder();
  const r = new Receiver(recorder, 1024);
  r.headerDigest = digests.header;
  r.dataDigest = digests.data;
  return { receiver: r, recorder };
}

function feed(r: Receiver, bytes: Uint8Array, from = 0, to = bytes.length): void {
  const lent = Buffer.from(bytes.subarray(from, to));
  const view = new DataView(lent.buffer, lent.byteOffset, lent.length);
  r.receive(lent, view, 0, lent.length);
  lent.fill(0xee);
}

const ALL_DIGESTS: readonly Digests[] = [
  { header: false, data: false },
  { header: true, data: false },
  { header: false, data: true },
  { header: true, data: true },
];

for (const digests of ALL_DIGESTS) {
  const name = `digests ${digests.header ? 'H' : '-'}${digests.data ? 'D' : '-'}`;
  const stream = Buffer.concat(PDUS.map((p) => framePdu(p, digests)));

  test(`${name}: byte by byte, split anywhere, or whole: the same PDUs`, () => {
    const whole = receiver(digests);
    feed(whole.receiver, stream);
    assert.equal(whole.recorder.pdus.length, PDUS.length);
    assert.match(whole.recorder.pdus[2] ?? '', /^05.* 67 /);
    const single = receiver(digests);
    for (let at = 0; at < stream.length; at++) feed(single.receiver, stream, at, at + 1);
    assert.deepEqual(single.recorder.pdus, whole.recorder.pdus);
    for (let cut = 0; cut <= stream.length; cut++) {
      const split = receiver(digests);
      feed(split.receiver, stream, 0, cut);
      feed(split.receiver, stream, cut);
      assert.deepEqual(split.recorder.pdus, whole.recorder.pdus, `cut at ${cut}`);
    }
  });
}

test('hostile case 25: a segment over the limit ends the stream before memory is taken', () => {
  const { receiver: r, recorder } = receiver({ header: false, data: false });
  const bytes = framePdu(PDUS[0]!, { header: false, data: false });
  bytes.set([255, 255, 255, 255], 4);
  feed(r, bytes);
  feed(r, stream());
  assert.deepEqual(recorder.pdus, []);
  feed(r, new Uint8Array(255 * 4));
  assert.deepEqual(recorder.pdus, ['segment-too-long']);
  feed(r, stream());
  assert.deepEqual(recorder.pdus, ['segment-too-long']);
});

function stream(): Uint8Array {
  return new Uint8Array(0);
}

test('hostile case 26: a wrong header digest ends the stream, a wrong data digest one PDU', () => {
  const digests: Digests = { header: true, data: true };
  const bytes = framePdu(PDUS[2]!, digests);
  const badHeader = Uint8Array.from(bytes);
  badHeader[20]! ^= 1;
  const header = receiver(digests);
  feed(header.receiver, badHeader);
  feed(header.receiver, bytes);
  assert.deepEqual(header.recorder.pdus, ['header-digest']);
  const badData = Uint8Array.from(bytes);
  badData[60]! ^= 1;
  for (const cut of [0, 10, 60, 100]) {
    const body = receiver(digests);
    feed(body.receiver, badData, 0, cut);
    feed(body.receiver, badData, cut);
    feed(body.receiver, bytes);
    assert.equal(body.recorder.pdus.length, 2);
    assert.equal(body.recorder.pdus[0], 'data-digest');
  }
});
