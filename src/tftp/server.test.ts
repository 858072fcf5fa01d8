import assert from 'node:assert/strict';
import { on, once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { EnvironmentError, FakeClock, UserError, errnoOf } from '#base/mod.ts';
import { UdpSocket, type Peer } from '#net/mod.ts';
import { TftpServer, memoryFile, type TftpServerOptions } from './mod.ts';
import { decodePacket, encodePacket, type Packet, type TftpOption } from './packet.ts';
import { fetchFile } from '../../bench/tftp-client.ts';

type Event = { kind: string; name: string; detail: unknown };

/** A server on a free port of the loopback, with files in memory and its events in a list. */
class Rig {
  readonly server: TftpServer;
  readonly events: Event[];
  readonly #bus: EventTarget;

  private constructor(server: TftpServer, events: Event[], bus: EventTarget) {
    this.server = server;
    this.events = events;
    this.#bus = bus;
  }

  static async open(
    t: TestContext,
    files: Record<string, Uint8Array>,
    options: Partial<TftpServerOptions> = {},
  ): Promise<Rig> {
    const events: Event[] = [];
    const bus = new EventTarget();
    const tell =
      (kind: string) =>
      (request: { name: string }, detail?: unknown): void => {
        events.push({ kind, name: request.name, detail });
        bus.dispatchEvent(new Event('event'));
      };
    const server = await TftpServer.open({
      address: '127.0.0.1',
      port: 0,
      mtu: 65_536,
      threads: 1,
      files: {
        open(name) {
          const content = files[name];
          return content === undefined
            ? Promise.reject(new UserError('not-found', 'not-found', { what: 'none' }))
            : Promise.resolve(memoryFile(content));
        },
      },
      observer: {
        request: tell('request'),
        started: tell('started'),
        finished: tell('finished'),
        failed: tell('failed'),
        probe: tell('probe'),
      },
      ...options,
    });
    t.after(() => server.close());
    return new Rig(server, events, bus);
  }

  get address(): Peer {
    return this.server.address;
  }

  /** Waits for an event of that kind. */
  async heard(kind: string): Promise<Event> {
    for (;;) {
      const event = this.events.find((e) => e.kind === kind);
      if (event !== undefined) return event;
      await once(this.#bus, 'event');
    }
  }
}

/** A hand-driven client: sends packets, and takes answers one by one. */
class Hand {
  readonly socket: UdpSocket;
  readonly #inbox: AsyncIterator<unknown>;
  #last = '';

  constructor(t: TestContext) {
    const bus = new EventTarget();
    const waiting = on(bus, 'datagram');
    this.#inbox = waiting[Symbol.asyncIterator]();
    this.socket = UdpSocket.open(
      { family: 4, address: '127.0.0.1', port: 0 },
      {
        onMessage(bytes, from) {
          bus.dispatchEvent(new CustomEvent('datagram', { detail: { bytes, from } }));
        },
      },
    );
    t.after(() => this.socket.close());
  }

  send(packet: Packet | Buffer, to: Peer): void {
    const bytes = Buffer.isBuffer(packet) ? packet : encodePacket(packet);
    this.socket.send(bytes, to.port, to.address);
  }

  read(name: string, to: Peer, options: TftpOption[] = [], mode = 'octet'): void {
    this.send({ op: 'rrq', name, mode, options }, to);
  }

  /** The next packet; a block that comes again is none: after 20 ms the server may repeat it. */
  async next(): Promise<{ packet: Packet; from: Peer }> {
    for (;;) {
      const { value } = (await this.#inbox.next()) as { value: [CustomEvent] };
      const { bytes, from } = value[0].detail as { bytes: Buffer; from: Peer };
      const packet = decodePacket(bytes);
      const what = `${from.port} ${packet.op} ${packet.op === 'data' ? packet.block : ''}`;
      if (packet.op === 'data' && what === this.#last) continue;
      this.#last = what;
      return { packet, from };
    }
  }
}

const content = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, n) => (n * 13) & 255);

test('a file by the simplest means: 512 bytes, no options', async (t) => {
  const rig = await Rig.open(t, { file: content(700) });
  const hand = new Hand(t);
  hand.read('file', rig.address);
  const one = await hand.next();
  assert.notEqual(one.from.port, rig.address.port);
  assert.ok(one.packet.op === 'data' && one.packet.block === 1 && one.packet.bytes.length === 512);
  hand.send({ op: 'ack', block: 1 }, one.from);
  const two = await hand.next();
  assert.equal(two.from.port, one.from.port);
  assert.ok(two.packet.op === 'data' && two.packet.block === 2 && two.packet.bytes.length === 188);
  hand.send({ op: 'ack', block: 2 }, two.from);
  const { detail } = await rig.heard('finished');
  const facts = detail as { sizeBytes: number; retransmissions: number; acknowledged: boolean };
  assert.deepEqual([facts.sizeBytes, facts.acknowledged], [700, true]);
  assert.deepEqual(
    rig.events.map((e) => e.kind),
    ['request', 'started', 'finished'],
  );
});

test('options: an OACK, and nothing more until ACK 0', async (t) => {
  const rig = await Rig.open(t, { file: content(5000) });
  const hand = new Hand(t);
  hand.read('file', rig.address, [
    ['tsize', '0'],
    ['blksize', '1000'],
    ['windowsize', '3'],
  ]);
  const oack = await hand.next();
  assert.ok(oack.packet.op === 'oack');
  assert.deepEqual(
    new Map(oack.packet.options),
    new Map([
      ['blksize', '1000'],
      ['windowsize', '3'],
      ['tsize', '5000'],
    ]),
  );
  hand.send({ op: 'ack', block: 0 }, oack.from);
  const blocks: number[] = [];
  for (let n = 0; n < 3; n++) {
    const { packet } = await hand.next();
    assert.ok(packet.op === 'data');
    blocks.push(packet.block);
  }
  assert.deepEqual(blocks, [1, 2, 3]);
});

test('refusals: what, by which code, and how it is counted', async (t) => {
  const rig = await Rig.open(
    t,
    { file: content(10) },
    {
      files: {
        open: (name) =>
          Promise.reject(
            name === 'secret'
              ? new UserError('forbidden', 'forbidden', { what: 'secret internals' })
              : name === 'broken'
                ? new EnvironmentError('EIO', { what: 'secret internals' })
                : new UserError('not-found', 'not-found', { what: 'none' }),
          ),
      },
    },
  );
  const hand = new Hand(t);
  const errorFor = async (send: () => void): Promise<[number, string]> => {
    send();
    const { packet } = await hand.next();
    assert.ok(packet.op === 'error');
    assert.doesNotMatch(packet.message, /internals/);
    return [packet.code, packet.message];
  };
  const raw = (text: string) => (): void => {
    hand.send(Buffer.from(text, 'latin1'), rig.address);
  };
  const read =
    (name: string, mode = 'octet') =>
    (): void => {
      hand.read(name, rig.address, [], mode);
    };
  assert.deepEqual(await errorFor(read('nope')), [1, 'File not found']);
  assert.deepEqual(await errorFor(read('secret')), [2, 'Access violation']);
  assert.equal((await errorFor(read('broken')))[0], 0);
  assert.equal((await errorFor(read('file', 'mail')))[0], 4);
  assert.equal((await errorFor(raw('\0\u0002up\0octet\0')))[0], 2);
  assert.equal((await errorFor(raw('\0\u0001unterminated')))[0], 4);
  assert.equal((await errorFor(raw(`\0\u0001${'n'.repeat(4096)}\0octet\0`)))[0], 4);
  const counts = rig.server.counters();
  assert.deepEqual(
    [counts.notFound, counts.forbidden, counts.unavailable, counts.badMode, counts.writeRefused],
    [1, 1, 1, 1, 1],
  );
  assert.equal(counts.malformed, 2);
});

test('silence for what is no request, and no ERROR is ever answered', async (t) => {
  const rig = await Rig.open(t, { file: content(10) });
  const hand = new Hand(t);
  for (const hex of [
    '',
    '00',
    '0000',
    '0003',
    '00030001ff',
    '00040001',
    '0005000100',
    '0006',
    'ffff',
  ]) {
    hand.send(Buffer.from(hex, 'hex'), rig.address);
  }
  // The only answer is that to the request that follows.
  hand.read('nope', rig.address);
  const { packet } = await hand.next();
  assert.ok(packet.op === 'error' && packet.code === 1);
  assert.equal(rig.server.counters().ignoredPackets, 9);
});

test('a stranger’s packet gets ERROR 5, and the transfer goes on', async (t) => {
  const rig = await Rig.open(t, { file: content(600) });
  const [hand, stranger] = [new Hand(t), new Hand(t)];
  hand.read('file', rig.address);
  const { from } = await hand.next();
  stranger.send({ op: 'ack', block: 1 }, from);
  const answer = await stranger.next();
  assert.ok(answer.packet.op === 'error' && answer.packet.code === 5);
  assert.equal(answer.from.port, from.port);
  stranger.send({ op: 'error', code: 0, message: 'x' }, from);
  stranger.send({ op: 'ack', block: 7 }, from);
  const next = await stranger.next();
  assert.ok(next.packet.op === 'error' && next.packet.code === 5);
  stranger.read('nope', rig.address);
  const last = await stranger.next();
  assert.ok(last.packet.op === 'error' && last.packet.code === 1, 'no ERROR answers an ERROR');
  hand.send({ op: 'ack', block: 1 }, from);
  const two = await hand.next();
  assert.ok(two.packet.op === 'data' && two.packet.block === 2);
  hand.send({ op: 'ack', block: 2 }, from);
  await rig.heard('finished');
  assert.equal(rig.server.counters().strayPackets, 3);
});

test('a repeated request is one transfer; another file on the same port replaces it', async (t) => {
  const rig = await Rig.open(t, { one: content(2000), two: content(100) });
  const hand = new Hand(t);
  hand.read('one', rig.address);
  const first = await hand.next();
  hand.read('one', rig.address);
  hand.send({ op: 'ack', block: 1 }, first.from);
  const second = await hand.next();
  assert.ok(second.packet.op === 'data' && second.packet.block === 2);
  assert.equal(second.from.port, first.from.port);
  assert.equal(rig.server.counters().duplicateRequests, 1);
  hand.read('two', rig.address);
  const other = await hand.next();
  assert.ok(other.packet.op === 'data' && other.packet.bytes.length === 100);
  assert.notEqual(other.from.port, first.from.port);
  assert.equal((await rig.heard('failed')).detail, 'replaced');
});

test('a size probe is a probe', async (t) => {
  const rig = await Rig.open(t, { file: content(2000) });
  const hand = new Hand(t);
  hand.read('file', rig.address, [['tsize', '0']]);
  const { from } = await hand.next();
  hand.send({ op: 'error', code: 8, message: 'Unacceptable size' }, from);
  assert.equal((await rig.heard('failed')).detail, 'options-refused');
  // PXE ROMs, and EDK2 (OVMF).
  for (const [code, message] of [
    [0, 'TFTP Aborted'],
    [8, 'User aborted the transfer'],
  ] as const) {
    hand.read('file', rig.address, [['tsize', '0']]);
    const again = await hand.next();
    hand.send({ op: 'error', code, message }, again.from);
    assert.equal((await rig.heard('probe')).detail, 2000);
    rig.events.length = 0;
  }
  hand.read('file', rig.address);
  const blind = await hand.next();
  hand.send({ op: 'error', code: 8, message: 'aborted' }, blind.from);
  assert.equal((await rig.heard('failed')).detail, 'options-refused', 'no size was asked for');
});

test('netascii is converted, and its size is that of the wire', async (t) => {
  const rig = await Rig.open(t, { text: Buffer.from('one\ntwo\rthree\n') });
  const hand = new Hand(t);
  hand.read('text', rig.address, [['tsize', '0']], 'NetASCII');
  const oack = await hand.next();
  const wire = 'one\r\ntwo\r\0three\r\n';
  assert.ok(oack.packet.op === 'oack');
  assert.deepEqual(oack.packet.options, [['tsize', String(wire.length)]]);
  hand.send({ op: 'ack', block: 0 }, oack.from);
  const { packet } = await hand.next();
  assert.ok(packet.op === 'data');
  assert.equal(Buffer.from(packet.bytes).toString('latin1'), wire);
});

test('full house: silence for the next one, until a place is free', async (t) => {
  const rig = await Rig.open(t, { file: content(600), small: content(10) }, { maxTransfers: 1 });
  const [hand, late] = [new Hand(t), new Hand(t)];
  hand.read('file', rig.address);
  const { from } = await hand.next();
  late.read('small', rig.address);
  // The transfer has a port of its own: what happens there says nothing of other requests.
  while (rig.server.counters().busy === 0) await turn();
  hand.send({ op: 'ack', block: 1 }, from);
  await hand.next();
  assert.equal(rig.server.counters().busy, 1);
  hand.send({ op: 'ack', block: 2 }, from);
  await rig.heard('finished');
  late.read('small', rig.address);
  const { packet } = await late.next();
  assert.ok(packet.op === 'data' && packet.bytes.length === 10);
});

test('full house: who never answered makes room after two seconds, who did never does', async (t) => {
  const clock = new FakeClock();
  const rig = await Rig.open(t, { file: content(2000) }, { maxTransfers: 1, clock });
  const [forged, hand, late] = [new Hand(t), new Hand(t), new Hand(t)];
  forged.read('file', rig.address);
  await forged.next();
  clock.advance(2001);
  hand.read('file', rig.address);
  const gone = await forged.next();
  assert.equal(gone.packet.op, 'error');
  const first = await hand.next();
  hand.send({ op: 'ack', block: 1 }, first.from);
  await rig.heard('started');
  clock.advance(10_000);
  late.read('file', rig.address);
  late.read('file', rig.address);
  // What follows them is refused at once: both were looked at.
  late.send({ op: 'wrq', name: 'x', mode: 'octet', options: [] }, rig.address);
  assert.equal((await late.next()).packet.op, 'error');
  assert.equal(rig.server.counters().busy, 2);
  hand.send({ op: 'ack', block: 2 }, (await hand.next()).from);
  const third = await hand.next();
  assert.ok(third.packet.op === 'data' && third.packet.block === 3, 'it still runs');
});

test('single-port mode: all packets from the port that was asked', async (t) => {
  const rig = await Rig.open(t, { file: content(100_000) }, { singlePort: true });
  const hand = new Hand(t);
  hand.read('file', rig.address, [['blksize', '1000']]);
  assert.equal((await hand.next()).from.port, rig.address.port);
  const crowd = await Promise.all(
    [1, 4, 16].map((windowBlocks) =>
      fetchFile({ server: rig.address, name: 'file', blockBytes: 1400, windowBlocks }),
    ),
  );
  assert.deepEqual(new Set(crowd.map((c) => c.bytes)), new Set([100_000]));
  assert.equal(new Set(crowd.map((c) => c.crc32c)).size, 1);
});

test('closing tells the clients, and ends at once', async (t) => {
  const rig = await Rig.open(t, { file: content(600) });
  const hand = new Hand(t);
  hand.read('file', rig.address);
  await hand.next();
  await rig.server.close();
  const { packet } = await hand.next();
  assert.ok(packet.op === 'error');
  assert.equal((await rig.heard('failed')).detail, 'stopped');
});

test('a taken port is said plainly', async (t) => {
  const rig = await Rig.open(t, {});
  await assert.rejects(
    TftpServer.open({
      address: '127.0.0.1',
      port: rig.address.port,
      files: { open: () => Promise.reject(new UserError('not-found', 'x', { what: 'x' })) },
    }),
    (e) => e instanceof EnvironmentError && errnoOf(e) === 'EADDRINUSE',
  );
});

test('IPv6', async (t) => {
  const rig = await Rig.open(t, { file: content(100_000) }, { address: '::1' });
  const got = await fetchFile({
    server: rig.address,
    name: 'file',
    blockBytes: 1400,
    windowBlocks: 8,
  });
  assert.equal(got.bytes, 100_000);
  assert.equal(rig.server.counters().strayPackets, 0);
});
