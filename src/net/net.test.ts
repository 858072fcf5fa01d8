import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { EnvironmentError, errnoOf } from '#base/mod.ts';
import { UdpSocket, listInterfaces, parseDefaultRoutes, type Peer } from './mod.ts';

/** A socket whose datagrams are taken one by one. */
function inbox(address = '127.0.0.1'): {
  socket: UdpSocket;
  next(): Promise<{ text: string; from: Peer }>;
} {
  const events = new EventTarget();
  const waiting: { text: string; from: Peer }[] = [];
  const socket = UdpSocket.open(
    { family: address.includes(':') ? 6 : 4, address, port: 0, receiveBufferBytes: 1 << 20 },
    {
      onMessage(bytes, from) {
        waiting.push({ text: bytes.toString('latin1'), from });
        events.dispatchEvent(new Event('message'));
      },
    },
  );
  const next = async (): Promise<{ text: string; from: Peer }> => {
    if (waiting.length === 0) await once(events, 'message');
    const got = waiting.shift();
    assert.ok(got !== undefined);
    return got;
  };
  return { socket, next };
}

test('datagrams go both ways and the local address is known', async () => {
  const [a, b] = [inbox(), inbox()];
  assert.equal(a.socket.localAddress().address, '127.0.0.1');
  a.socket.send(Buffer.from('ping'), b.socket.localAddress().port, '127.0.0.1');
  const got = await b.next();
  assert.equal(got.text, 'ping');
  assert.equal(got.from.port, a.socket.localAddress().port);
  await Promise.all([a.socket.close(), b.socket.close()]);
  await a.socket.close();
});

test('one call sends many datagrams of one size, the last one shorter', async () => {
  const [a, b] = [inbox(), inbox()];
  const target = a.socket.target(b.socket.localAddress());
  const bytes = Buffer.from('..aaaabbbbcc..');
  assert.equal(target.send(bytes, 2, 10, 4), 10);
  assert.deepEqual(
    [(await b.next()).text, (await b.next()).text, (await b.next()).text],
    ['aaaa', 'bbbb', 'cc'],
  );
  assert.equal(target.send(bytes, 2, 4), 4);
  assert.equal((await b.next()).text, 'aaaa');
  assert.throws(() => target.send(bytes, 10, 10), { code: 'internal' });
  await Promise.all([a.socket.close(), b.socket.close()]);
});

test('IPv6 too', async () => {
  const [a, b] = [inbox('::1'), inbox('::1')];
  a.socket.target(b.socket.localAddress()).send(Buffer.from('six'), 0, 3);
  assert.equal((await b.next()).text, 'six');
  await Promise.all([a.socket.close(), b.socket.close()]);
});

test('a taken port, a foreign address and a missing interface are said plainly', async () => {
  const a = inbox();
  const { port } = a.socket.localAddress();
  const handlers = { onMessage(): void {} };
  const fails = (code: string) => (e: unknown) =>
    e instanceof EnvironmentError && errnoOf(e) === code && e.explanation.todo !== undefined;
  assert.throws(
    () => UdpSocket.open({ family: 4, address: '127.0.0.1', port }, handlers),
    fails('EADDRINUSE'),
  );
  assert.throws(
    () => UdpSocket.open({ family: 4, address: '203.0.113.9', port: 0 }, handlers),
    fails('EADDRNOTAVAIL'),
  );
  assert.throws(
    () => UdpSocket.open({ family: 4, interface: 'nope0', port: 0 }, handlers),
    fails('no-interface'),
  );
  await a.socket.close();
});

test('the loopback is listed with its addresses and MTU', () => {
  const lo = listInterfaces().find((i) => i.name === 'lo');
  assert.ok(lo !== undefined);
  assert.deepEqual(lo.ipv4[0], { address: '127.0.0.1', prefix: 8 });
  assert.ok(lo.loopback && lo.up && lo.mtu >= 16_384);
  assert.equal(lo.index, 1);
});

test('default routes are read from both tables', () => {
  const ipv4 = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0',
    'eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
    'tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0',
  ].join('\n');
  const zero = '0'.repeat(32);
  const tail = `${zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000`;
  const ipv6 = [
    `${zero} 00 ${tail} 00000003     wlan0`,
    `${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200       lo`,
    `fe800000000000000000000000000000 40 ${tail} 00000001 eth1`,
  ].join('\n');
  assert.deepEqual(parseDefaultRoutes(ipv4, ipv6), ['eth0', 'wlan0']);
  assert.deepEqual(parseDefaultRoutes('', ''), []);
});
