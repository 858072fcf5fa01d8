import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { DecodeError, FakeClock } from '#base/mod.ts';
import { decodeQmpLine, encodeQmpCommand, QMP_LINE_LIMIT, QmpDecoder } from './qmp-messages.ts';
import { QmpClient, QmpError, type QmpEvent } from './mod.ts';

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}\r\n';
const EVENT =
  '{"timestamp": {"seconds": 1700000000, "microseconds": 250000}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n';

type Sent = { readonly execute: string; readonly arguments: unknown; readonly id: number };

/** QEMU's end of the socket: keeps what was asked, says what the test wants. */
class FakeQemu extends Duplex {
  readonly sent: Sent[] = [];

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.sent.push(JSON.parse(chunk.toString()) as Sent);
    done();
  }

  say(text: string): void {
    this.push(text);
  }

  answer(value: unknown = {}): void {
    this.say(`${JSON.stringify({ return: value, id: this.sent.at(-1)?.id })}\r\n`);
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

async function connected(): Promise<{ qemu: FakeQemu; clock: FakeClock; qmp: QmpClient }> {
  const qemu = new FakeQemu();
  const clock = new FakeClock();
  const connecting = QmpClient.connect(qemu, clock);
  qemu.say(GREETING);
  await turn();
  assert.equal(qemu.sent[0]?.execute, 'qmp_capabilities');
  qemu.answer();
  return { qemu, clock, qmp: await connecting };
}

async function refused(promise: Promise<unknown>, errorClass: string): Promise<QmpError> {
  const error = await promise.then(
    () => assert.fail(`expected ${errorClass}`),
    (e: unknown) => e,
  );
  assert.ok(error instanceof QmpError, String(error));
  assert.equal(error.errorClass, errorClass);
  return error;
}

suite('QMP messages', () => {
  test('a greeting, an answer, a refusal, an event; byte by byte', () => {
    const stream = Buffer.from(
      `${GREETING}{"return": {"running": true}, "id": 4}\r\n` +
        `{"id": 5, "error": {"class": "DeviceNotFound", "desc": "no ü"}}\r\n${EVENT}`,
    );
    const decoder = new QmpDecoder();
    const messages = Array.from(stream, (byte) => decoder.feed(Uint8Array.of(byte))).flat();
    assert.deepEqual(messages, [
      { kind: 'greeting', version: '7.2.22' },
      { kind: 'return', id: 4, value: { running: true } },
      { kind: 'error', id: 5, errorClass: 'DeviceNotFound', description: 'no ü' },
      {
        kind: 'event',
        event: {
          name: 'SHUTDOWN',
          data: { guest: true, reason: 'guest-shutdown' },
          atMs: 1_700_000_000_250,
        },
      },
    ]);
  });

  test('a command is one line', () => {
    assert.equal(
      encodeQmpCommand(3, 'send-key', { a: 'x\ny' }),
      '{"execute":"send-key","arguments":{"a":"x\\ny"},"id":3}\n',
    );
  });

  test('mutated messages decode or throw DecodeError, nothing else', () => {
    const seeds = [GREETING, EVENT, '{"return": {}, "id": 1}', '{"error": {"class": "E"}}'];
    const mutation = fc.record({
      seed: fc.constantFrom(...seeds),
      at: fc.nat(160),
      cut: fc.nat(12),
      put: fc.string({ unit: 'binary-ascii', maxLength: 4 }),
    });
    fc.assert(
      fc.property(mutation, ({ seed, at, cut, put }) => {
        try {
          decodeQmpLine(seed.slice(0, at) + put + seed.slice(at + cut));
        } catch (e) {
          assert.ok(e instanceof DecodeError, String(e));
        }
      }),
      { numRuns: 100_000, seed: 2 },
    );
  });

  test('a line without end is refused', () => {
    const decoder = new QmpDecoder();
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    assert.throws(() => {
      for (let n = 0; n <= QMP_LINE_LIMIT / chunk.length; n++) decoder.feed(chunk);
    }, DecodeError);
  });
});

suite('QMP client', () => {
  test('answers find their commands, in any order', async () => {
    const { qemu, clock, qmp } = await connected();
    assert.equal(qmp.version, '7.2.22');
    const first = qmp.execute('query-status');
    const second = qmp.execute('query-name');
    const [a, b] = qemu.sent.slice(-2).map((s) => s.id);
    qemu.say(`{"return": 2, "id": ${b}}\n{"return": 1, "id": ${a}}\n`);
    assert.deepEqual(await Promise.all([first, second]), [1, 2]);
    assert.equal(clock.pending, 0);
  });

  test('a refusal carries QEMU’s class and words', async () => {
    const { qemu, qmp } = await connected();
    const failure = refused(qmp.execute('eject', { id: 'x' }), 'DeviceNotFound');
    qemu.say(
      `{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}, "id": ${qemu.sent.at(-1)?.id}}\n`,
    );
    assert.equal((await failure).message, "eject: Device 'x' not found");
  });

  test('a command that is not answered ends by itself; its late answer harms nobody', async () => {
    const { qemu, clock, qmp } = await connected();
    const failure = refused(qmp.execute('stop', {}, 2_000), 'Timeout');
    const late = qemu.sent.at(-1)?.id;
    clock.advance(2_000);
    await failure;
    const next = qmp.execute('cont');
    qemu.say(`{"return": "late", "id": ${late}}\n`);
    qemu.answer('fine');
    assert.equal(await next, 'fine');
  });

  test('events reach listeners until they leave', async () => {
    const { qemu, qmp } = await connected();
    const seen: QmpEvent[] = [];
    const off = qmp.onEvent((e) => seen.push(e));
    const next = qmp.nextEvent('SHUTDOWN', 1_000);
    qemu.say('{"event": "RESET", "timestamp": {}}\n');
    qemu.say(EVENT);
    assert.equal((await next).data['reason'], 'guest-shutdown');
    off();
    qemu.say(EVENT);
    await turn();
    assert.deepEqual(
      seen.map((e) => e.name),
      ['RESET', 'SHUTDOWN'],
    );
  });

  test('a closed socket ends everything that waits', async () => {
    const { qemu, clock, qmp } = await connected();
    const failures = [
      refused(qmp.execute('quit'), 'Closed'),
      refused(qmp.nextEvent('SHUTDOWN', 1_000), 'Closed'),
    ];
    qemu.destroy();
    await Promise.all(failures);
    await refused(qmp.execute('cont'), 'Closed');
    assert.equal(clock.pending, 0);
  });

  test('a peer that does not speak QMP is left', async () => {
    const qemu = new FakeQemu();
    const failure = refused(QmpClient.connect(qemu, new FakeClock()), 'Protocol');
    qemu.say('SSH-2.0\r\n');
    await failure;
    assert.equal(qemu.destroyed, true);
  });

  test('a peer that says nothing is left', async () => {
    const clock = new FakeClock();
    const failure = refused(QmpClient.connect(new FakeQemu(), clock), 'Timeout');
    clock.advance(10_000);
    await failure;
  });
});
