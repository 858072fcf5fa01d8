import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { FakeClock, InternalError } from '#base/mod.ts';
import { decodeLoginResponse, encodeLoginRequest, framePdu } from './pdu/mod.ts';
import { NO_DIGESTS, parsePdu } from './pdu/mod.ts';
import { LoginStatus } from './policy.ts';
import { SocketTransport } from './socket-transport.ts';
import { encodeText } from './text.ts';
import type { KeyValue } from './text.ts';
import { TEST_TARGET, testServer } from './testing/disk.ts';
import { USUAL_KEYS } from './testing/initiator.ts';

const LOOPBACK = { address: '127.0.0.1', port: 0 };
const HOME = 3;

type LoginText = {
  readonly continued?: boolean;
  readonly target?: string;
  readonly empty?: boolean;
};

function loginBytes(text: LoginText = {}): Buffer {
  const { continued = false, target = TEST_TARGET, empty = false } = text;
  const pdu = encodeLoginRequest({
    transit: !continued,
    more: continued,
    currentStage: 1,
    nextStage: continued ? 0 : 3,
    versionMax: 0,
    versionMin: 0,
    isid: '800000000007',
    tsih: 0,
    initiatorTaskTag: 1,
    cid: 0,
    cmdSn: 1,
    expStatSn: 0,
    data: encodeText(empty ? [] : [...names(target), ...USUAL_KEYS]),
  });
  return Buffer.from(framePdu(pdu, NO_DIGESTS));
}

function names(target: string): KeyValue[] {
  return [
    ['InitiatorName', 'iqn.2026-11.test:socket'],
    ['TargetName', target],
  ];
}

/** Two servers that stand for two threads: the first one listens, the second one has the disk. */
async function twoThreads() {
  const homes: number[] = [];
  const back = testServer();
  const front = testServer({
    config: { iqn: 'iqn.2026-11.test:other' },
    server: {
      giveAway: (home, connection) => {
        homes.push(home);
        back.server.takeOver(structuredClone(connection));
      },
    },
  });
  front.server.setDistant([{ iqn: TEST_TARGET, access: 'any', home: HOME }]);
  const [portal] = await front.server.listen([LOOPBACK]);
  const dial = async (): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port: portal?.port ?? 0 });
    await once(socket, 'connect');
    return socket;
  };
  const close = async (): Promise<void> => {
    const closed = [front.server.close(), back.server.close()];
    back.clock.advance(60_000);
    front.clock.advance(60_000);
    await Promise.all(closed);
  };
  return { front: front.server, back: back.server, homes, dial, close };
}

async function answerOf(socket: Socket): Promise<number> {
  const [data] = (await once(socket, 'data')) as [Buffer];
  return decodeLoginResponse(parsePdu(data, NO_DIGESTS)).status;
}

test('a login whose target another thread has goes there with its socket, unanswered', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  const socket = await threads.dial();
  socket.write(loginBytes());
  assert.equal(await answerOf(socket), LoginStatus.SUCCESS);
  assert.deepEqual(threads.homes, [HOME]);
  const [session, second] = threads.back.stats().sessions;
  assert.equal(second, undefined);
  assert.equal(session?.peer.port, socket.localPort);
  assert.equal(session?.portal.port, socket.remotePort);
  assert.deepEqual(threads.front.stats().sessions, []);
  assert.equal(threads.front.stats().halfOpen, 0);
  // The connection works on: a second login on it is against the rules and ends it.
  socket.write(loginBytes());
  await once(socket, 'close');
});

test('the login arrives byte by byte and goes over whole', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  const socket = await threads.dial();
  socket.setNoDelay(true);
  const answer = answerOf(socket);
  for (const byte of loginBytes()) {
    socket.write(Buffer.of(byte));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  assert.equal(await answer, LoginStatus.SUCCESS);
  assert.equal(threads.back.stats().sessions.length, 1);
  socket.destroy();
});

test('own targets stay, and unknown ones are refused', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  const own = await threads.dial();
  own.write(loginBytes({ target: 'iqn.2026-11.test:other' }));
  assert.equal(await answerOf(own), LoginStatus.SUCCESS);
  assert.equal(threads.front.stats().sessions.length, 1);
  own.destroy();

  const unknown = await threads.dial();
  unknown.write(loginBytes({ target: 'iqn.2026-11.test:nobody' }));
  assert.equal(await answerOf(unknown), LoginStatus.NOT_FOUND);

  assert.deepEqual(threads.homes, []);
});

test('a text in two pieces goes over as one', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  const split = await threads.dial();
  split.write(loginBytes({ continued: true }));
  assert.equal(await answerOf(split), LoginStatus.SUCCESS);
  split.write(loginBytes({ empty: true }));
  assert.equal(await answerOf(split), LoginStatus.SUCCESS);
  assert.deepEqual(threads.homes, [HOME]);
  assert.equal(threads.back.stats().sessions.length, 1);
  split.destroy();
});

test('discovery shows the targets of all threads, each once', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  threads.front.setDistant([
    { iqn: TEST_TARGET, access: 'any', home: HOME },
    { iqn: 'iqn.2026-11.test:other', access: 'any', home: HOME },
    { iqn: 'iqn.2026-11.test:secret', access: ['iqn.2026-11.test:friend'], home: HOME },
  ]);
  assert.deepEqual(threads.front.policy.targetsFor('iqn.2026-11.test:x'), [
    'iqn.2026-11.test:other',
    TEST_TARGET,
  ]);
});

test('a connection for which there is no second descriptor is closed', async (t) => {
  const listener = createServer({ pauseOnConnect: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const client = connect((listener.address() as AddressInfo).port, '127.0.0.1').resume();
  const closed = once(client, 'close');
  const [socket] = await accepted;
  const handle = Reflect.get(socket, '_handle') as object;
  Reflect.defineProperty(handle, 'fd', { value: 2 ** 30 });
  const transport = new SocketTransport(socket, Buffer.alloc(512), new FakeClock());
  assert.throws(() => transport.detach(), { code: 'EBADF' });
  await closed;
});

test('a connection that cannot be given away is closed', async (t) => {
  const { server } = testServer({
    config: { iqn: 'iqn.2026-11.test:other' },
    server: {
      giveAway: () => {
        throw new InternalError('nobody there');
      },
    },
  });
  server.setDistant([{ iqn: TEST_TARGET, access: 'any', home: HOME }]);
  const [portal] = await server.listen([LOOPBACK]);
  t.after(() => server.close());
  const socket = connect(portal?.port ?? 0, '127.0.0.1').resume();
  const closed = once(socket, 'close');
  socket.write(loginBytes());
  // While a descriptor of it is open anywhere, no end of it would be seen here.
  await closed;
});

test('a descriptor that is no connection is closed', async (t) => {
  const threads = await twoThreads();
  t.after(threads.close);
  const fd = openSync('/dev/null', 'r');
  assert.throws(() => {
    threads.back.takeOver({ fd, login: loginBytes() });
  });
  assert.throws(() => {
    closeSync(fd);
  }, /EBADF/);
});

test('a server that stops takes no connection over', async () => {
  const threads = await twoThreads();
  await threads.close();
  const fd = openSync('/dev/null', 'r');
  threads.back.takeOver({ fd, login: loginBytes() });
  assert.throws(() => {
    closeSync(fd);
  }, /EBADF/);
});
