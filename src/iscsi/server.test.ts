import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { HALF_OPEN_PER_ADDRESS_MAX, LINGER_MS, LOGIN_DEADLINE_MS } from './limits.ts';
import { AsyncEvent, Opcode, decodeAsyncMessage, decodeLoginResponse } from './pdu/mod.ts';
import {
  NO_DIGESTS,
  encodeLoginRequest,
  encodeLogoutRequest,
  framePdu,
  opcodeOf,
} from './pdu/mod.ts';
import { parsePdu } from './pdu/mod.ts';
import { TargetServer } from './server.ts';
import { encodeText } from './text.ts';
import { TEST_TARGET, testServer, unitsOf } from './testing/disk.ts';
import type { Bench } from './testing/disk.ts';
import { IPXE_KEYS, TestInitiator, USUAL_KEYS } from './testing/initiator.ts';

const LOOPBACK = { address: '127.0.0.1', port: 0 };

async function dial(bench: Bench, port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host, port });
  await once(socket, 'connect');
  bench.clock.advance(0);
  return socket;
}

/** Waits until something is true, looking whenever the event loop has turned. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

function loginBytes(): Uint8Array {
  return framePdu(
    encodeLoginRequest({
      transit: true,
      more: false,
      currentStage: 1,
      nextStage: 3,
      versionMax: 0,
      versionMin: 0,
      isid: '800000000007',
      tsih: 0,
      initiatorTaskTag: 1,
      cid: 0,
      cmdSn: 1,
      expStatSn: 0,
      data: encodeText([
        ['InitiatorName', 'iqn.2026-11.test:socket'],
        ['TargetName', TEST_TARGET],
        ...USUAL_KEYS,
      ]),
    }),
    NO_DIGESTS,
  );
}

test('a login over a socket, on IPv4 and IPv6, and a clean stop', async () => {
  const bench = testServer();
  const { server } = bench;
  const portals = await server.listen([LOOPBACK, { address: '::1', port: 0 }]);
  assert.equal(portals.length, 2);
  const sockets: Socket[] = [];
  for (const { address, port } of portals) {
    const socket = await dial(bench, port, address);
    socket.write(loginBytes());
    const [data] = (await once(socket, 'data')) as [Buffer];
    assert.equal(decodeLoginResponse(parsePdu(data, NO_DIGESTS)).status, 0);
    sockets.push(socket);
    if (address === '127.0.0.1') {
      const session = server.stats().sessions[0];
      assert.equal(session?.peer.address, '127.0.0.1');
      assert.equal(session?.portal.port, port);
    }
  }
  const last = sockets[1]!;
  const asked = once(last, 'data') as Promise<[Buffer]>;
  const stopped = server.close();
  const message = decodeAsyncMessage(parsePdu((await asked)[0], NO_DIGESTS));
  assert.equal(message.event, AsyncEvent.LOGOUT_REQUEST);
  const ends = once(last, 'close');
  bench.clock.advance(1000);
  await stopped;
  await ends;
  assert.equal(server.stats().sessions.length, 0);
  await assert.rejects(dial(bench, portals[0]?.port ?? 0));
  await server.close();
});

test('stop: who logs out when asked is not waited for any longer', async () => {
  const { server } = testServer();
  const i = new TestInitiator(server);
  await i.login();
  const ipxe = new TestInitiator(server);
  await ipxe.login({ initiator: 'iqn.2026-11.test:ipxe', keys: IPXE_KEYS });
  const stopped = server.close();
  assert.equal(opcodeOf(await i.next()), Opcode.ASYNC_MESSAGE);
  const logout = { reason: 0, initiatorTaskTag: 2, cid: 0, cmdSn: i.cmdSn, expStatSn: 0 };
  i.send(encodeLogoutRequest({ immediate: true, ...logout }));
  await stopped;
  assert.deepEqual([i.closed, ipxe.closed, ipxe.received.length], [true, true, 0]);
});

test('hostile case 22: a flood of half-open logins leaves room for others', async () => {
  const bench = testServer();
  const [portal] = await bench.server.listen([LOOPBACK]);
  const port = portal?.port ?? 0;
  const flood: Socket[] = [];
  for (let n = 0; n < HALF_OPEN_PER_ADDRESS_MAX + 5; n++) flood.push(await dial(bench, port));
  await until(() => bench.server.stats().counters.connections === flood.length);
  const { counters, halfOpen } = bench.server.stats();
  assert.deepEqual([counters['connections-refused'], halfOpen], [5, HALF_OPEN_PER_ADDRESS_MAX]);
  const elsewhere = new TestInitiator(bench.server);
  assert.equal((await elsewhere.login()).status, 0);
  bench.clock.advance(LOGIN_DEADLINE_MS + 1000);
  await until(() => bench.server.stats().halfOpen === 0);
  assert.equal(bench.server.stats().counters['login-timeouts'], HALF_OPEN_PER_ADDRESS_MAX);
  for (const socket of flood) socket.destroy();
  const stopped = bench.server.close();
  bench.clock.advance(1000);
  await stopped;
});

test('a peer that was refused and does not hang up is cut off', async () => {
  const bench = testServer({ config: { access: [] } });
  const [portal] = await bench.server.listen([LOOPBACK]);
  const socket = connect({ host: '127.0.0.1', port: portal?.port ?? 0, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.write(loginBytes());
  const [data] = (await once(socket, 'data')) as [Buffer];
  assert.equal(decodeLoginResponse(parsePdu(data, NO_DIGESTS)).status, 0x0202);
  await once(socket, 'end');
  const cut = once(socket, 'error');
  bench.clock.advance(LINGER_MS);
  // Only a reset tells a writer that nobody is there.
  const more = setInterval(() => socket.write('x'), 1);
  const [error] = (await cut) as [NodeJS.ErrnoException];
  clearInterval(more);
  assert.match(error.code ?? '', /EPIPE|ECONNRESET/);
  await bench.server.close();
});

test('a portal that cannot be had: says why, and none stays open', async () => {
  const first = new TargetServer();
  const [taken] = await first.listen([LOOPBACK]);
  const second = new TargetServer();
  await assert.rejects(
    second.listen([LOOPBACK, taken!]),
    (e) => e instanceof EnvironmentError && /another program listens/.test(e.message),
  );
  await assert.rejects(second.listen([{ address: '192.0.2.1', port: 0 }]), /does not have/);
  await first.close();
  await second.close();
});

test('exports that cannot work are refused before anybody logs in', () => {
  const { server, units, device } = testServer();
  const config = { access: 'any', takeover: false } as const;
  const chap = { user: 'u', secret: 'same', mutualUser: 'v', mutualSecret: 'same' };
  const bad = [
    { ...config, iqn: TEST_TARGET.toUpperCase() },
    { ...config, iqn: 'not a name' },
    { ...config, iqn: 'iqn.2026-11.test:x', chap },
    { ...config, iqn: 'iqn.2026-11.test:x', access: ['nobody'] },
  ];
  for (const each of bad) {
    assert.throws(() => {
      server.addExport(each, units);
    }, UserError);
  }
  assert.throws(() => server.removeExport('iqn.2026-11.test:x'), UserError);
  server.addExport({ ...config, iqn: 'iqn.2026-11.test:x' }, unitsOf(device));
});
