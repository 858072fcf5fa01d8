import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rename, truncate, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { EnvironmentError } from '#base/mod.ts';
import { Bench, GET, type Client } from '../../test/interop/http-kit.ts';
import { LIMITS } from './limits.ts';
import { HttpServer } from './server.ts';
import type { ByteSource } from './types.ts';

/** Larger than what the kernel buffers on loopback (tcp_wmem and tcp_rmem: 4 + 6 MiB). */
const BIG_BYTES = 16 * 1024 * 1024;

/** Connects `count` sockets that say nothing. */
async function idleSockets(port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const batch = 100;
  while (sockets.length < count) {
    const more = Array.from({ length: Math.min(batch, count - sockets.length) }, () => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => {});
      return socket;
    });
    await Promise.all(more.map((s) => once(s, 'connect')));
    sockets.push(...more);
  }
  return sockets;
}

suite('boot listener against the ill-meaning and the unlucky', () => {
  test('slowloris: half a request gets 408 at its deadline, and the socket goes', async (t) => {
    const bench = await Bench.start(t);
    const slow = await bench.dial();
    // Behind a whole request, in one piece: when that is answered the server has both.
    slow.send(`${GET('/x')}GET / HTTP/1.1\r\nHost: h\r\n`);
    assert.equal((await slow.answer()).status, 404);
    bench.clock.advance(LIMITS.requestMs / 2);
    slow.send('X: y\r\n');
    await bench.ask(GET('/x'));
    bench.clock.advance(LIMITS.requestMs / 2);
    const answer = await slow.answer();
    assert.deepEqual([answer.status, answer.headers.get('connection')], [408, 'close']);
    assert.equal(bench.server.counters['timeouts'], 1);
    bench.clock.advance(LIMITS.lingerMs);
    await slow.closed();
  });

  test('10,000 idle sockets: bounded, and the next machine still boots', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('f', 'boot me');
    const sockets = await idleSockets(bench.port, 10_000);
    const answer = await bench.ask(GET('/f'));
    assert.equal(answer.body.toString(), 'boot me');
    assert.ok(bench.server.openConnections <= LIMITS.socketsPerAddress + 1);
    assert.ok(bench.server.counters['evicted'] >= 10_000 - LIMITS.socketsPerAddress);
    for (const s of sockets) s.destroy();
  });

  test('an idle connection is closed after its time, without a word', async (t) => {
    const bench = await Bench.start(t);
    const idle = await bench.dial();
    await bench.ask(GET('/x'));
    bench.clock.advance(LIMITS.idleMs + 1000);
    assert.equal(await idle.closed(), '');
  });

  test('1 MB of headers: refused at the limit, the answer arrives, memory does not grow', async (t) => {
    const bench = await Bench.start(t);
    const client = await bench.dial();
    client.send(`GET / HTTP/1.1\r\nHost: h\r\nX: ${'a'.repeat(1_000_000)}`);
    const answer = await client.answer();
    assert.deepEqual([answer.status, answer.headers.get('connection')], [431, 'close']);
    assert.equal(bench.server.counters['refused'], 1);
  });

  test('a request smuggled behind a refused one is never seen', async (t) => {
    const seen: string[] = [];
    const bench = await Bench.start(t, ({ path }) => {
      seen.push(path);
      return { kind: 'not-found' };
    });
    const client = await bench.dial();
    const first = 'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked';
    client.send(`${first}\r\n\r\n0\r\n\r\n${GET('/smuggled')}`);
    assert.equal((await client.answer()).status, 400);
    client.socket.end();
    await client.closed();
    assert.deepEqual(seen, []);
  });

  test('a reader that stops reading is cut after its time; others are not delayed', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('big', Buffer.alloc(BIG_BYTES, 7));
    const stuck = await bench.dial();
    stuck.socket.pause();
    stuck.send(GET('/big'));
    await bench.started('/big');
    bench.clock.advance(LIMITS.stallMs / 2);
    assert.equal((await bench.ask(GET('/none'))).status, 404);
    bench.clock.advance(LIMITS.stallMs);
    const failed = (await bench.told(2)).find((s) => s.event === 'failed');
    assert.equal(failed?.transfer.path, '/big');
    assert.match(failed.why, /took no data/);
    assert.ok(failed.sentBytes < BIG_BYTES);
  });

  test('a client that leaves in the middle: the observer knows how far it came', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('big', Buffer.alloc(BIG_BYTES, 7));
    const client = await bench.dial();
    client.send(GET('/big'));
    // More than the server hands over at once, so that some of it counts as sent.
    await client.received(1024 * 1024);
    client.socket.destroy();
    const [failed] = await bench.told(1);
    assert.equal(failed?.event, 'failed');
    assert.ok(failed.sentBytes > 0 && failed.sentBytes < BIG_BYTES);
  });

  test('a file replaced while it is sent ends from the old one; the next gets the new', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('initrd', Buffer.alloc(BIG_BYTES, 1));
    const client = await bench.dial();
    client.socket.pause();
    client.send(GET('/initrd'));
    await bench.started('/initrd');
    await writeFile(join(bench.folder, 'new'), Buffer.alloc(BIG_BYTES, 2));
    await rename(join(bench.folder, 'new'), join(bench.folder, 'initrd'));
    bench.clock.advance(1000);
    const after = await bench.ask(GET('/initrd', 'Range: bytes=0-99999'));
    assert.ok(after.body.equals(Buffer.alloc(100_000, 2)));
    client.socket.resume();
    const before = await client.answer();
    assert.ok(before.body.equals(Buffer.alloc(BIG_BYTES, 1)));
  });

  test('a file cut short while it is sent: the connection is cut, never padded', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('f', Buffer.alloc(BIG_BYTES, 1));
    const client = await bench.dial();
    client.socket.pause();
    client.send(GET('/f'));
    await bench.started('/f');
    await truncate(join(bench.folder, 'f'), 4096);
    client.socket.resume();
    const [failed] = await bench.told(1);
    assert.equal(failed?.event, 'failed');
    assert.match(failed.why, /became shorter/);
    await client.closed();
  });

  test('a file changed in place is seen as another one', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('f', 'one');
    const one = await bench.ask(GET('/f'));
    await bench.file('f', 'three');
    bench.clock.advance(1000);
    const three = await bench.ask(GET('/f', `If-None-Match: ${one.headers.get('etag')}`));
    assert.deepEqual([three.status, three.body.toString()], [200, 'three']);
  });

  test('a byte source: ranges, a failing read, closed once however it ends', async (t) => {
    let closed = 0;
    const source = (fail: boolean): ByteSource => ({
      sizeBytes: 100_000,
      version: 'v"1',
      read(into, position) {
        if (fail) return Promise.reject(new TypeError('disk gone'));
        into.fill(position & 255);
        return Promise.resolve(into.length);
      },
      close() {
        closed += 1;
      },
    });
    const bench = await Bench.start(t, ({ path }) => ({
      kind: 'source',
      source: source(path === '/bad'),
    }));
    const part = await bench.ask(GET('/good', 'Range: bytes=7-16'));
    assert.deepEqual([part.status, part.body], [206, Buffer.alloc(10, 7)]);
    assert.equal(part.headers.get('etag'), '"v_1"');
    const same = await bench.dial();
    same.send(GET('/good', 'If-None-Match: "v_1"'));
    assert.equal((await same.answer(true)).status, 304);
    same.socket.destroy();
    const bad = await bench.dial();
    bad.send(GET('/bad'));
    await bad.closed();
    await bench.told(3);
    assert.equal(closed, 3);
  });

  test('a port that is taken: one clear error, and nothing half started', async (t) => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as AddressInfo;
    const server = new HttpServer({
      listen: [
        { address: '127.0.0.1', port: 0 },
        { address: '127.0.0.1', port },
      ],
      site: { resolve: () => ({ kind: 'not-found' }) },
    });
    await assert.rejects(server.start(), (e) => {
      assert.ok(e instanceof EnvironmentError);
      assert.equal(e.code, 'port-taken');
      assert.match(e.explanation.todo ?? '', /ss -ltnp/);
      return true;
    });
    assert.deepEqual(server.addresses, []);
  });

  test('an address of nobody is named in the error', async () => {
    const server = new HttpServer({
      listen: [{ address: '192.0.2.1', port: 0 }],
      site: { resolve: () => ({ kind: 'not-found' }) },
    });
    await assert.rejects(server.start(), { code: 'no-such-address' });
  });

  test('stop: an answer on its way may end, one that does not is cut', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('big', Buffer.alloc(BIG_BYTES, 7));
    const idle = await bench.dial();
    const reading = await bench.dial();
    const stuck = await bench.dial();
    stuck.socket.pause();
    stuck.send(GET('/big'));
    reading.socket.pause();
    reading.send(GET('/big'));
    await bench.started('/big', 2);
    const stopped = bench.server.stop();
    await idle.closed();
    reading.socket.resume();
    assert.equal((await reading.answer()).body.length, BIG_BYTES);
    bench.clock.advance(LIMITS.stopMs);
    await stopped;
    assert.equal(bench.server.openConnections, 0);
    assert.ok((await bench.told(2)).some((s) => s.event === 'failed'));
    await assert.rejects(once(connect({ host: '127.0.0.1', port: bench.port || 1 }), 'connect'));
  });

  test('too many of one address while all are busy: turned away with a word', async (t) => {
    const bench = await Bench.start(t, () => new Promise(() => {}));
    const busy: Client[] = [];
    for (let n = 0; n < LIMITS.socketsPerAddress; n++) {
      const client = await bench.dial();
      client.send(GET('/'));
      busy.push(client);
    }
    while (bench.server.counters['requests'] < busy.length) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const late = await bench.dial();
    assert.equal((await late.answer()).status, 503);
    assert.equal(bench.server.counters['turned-away'], 1);
    for (const c of busy) c.socket.destroy();
  });
});
