import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { Doorbell } from './doorbell.ts';
import { ReadySet } from './epoll.ts';
import { socketAddress } from './socket-address.ts';
import { DatagramInbox } from './udp-receive.ts';
import { DatagramTarget } from './udp-send.ts';
import { openUdpSocket } from './udp-socket.ts';

/** A bound port of the loopback: asks for numbers until one is free. */
function bound(address: string): { fd: number; port: number } {
  const family = address.includes(':') ? 6 : 4;
  for (let port = 40_000 + (process.pid % 20_000); ; port++) {
    try {
      return { fd: openUdpSocket({ family, address, port }), port };
    } catch {
      assert.ok(port < 65_000);
    }
  }
}

for (const address of ['127.0.0.1', '::1']) {
  test(`datagrams without libuv, ${address}: sent, waited for, taken, with their sender`, () => {
    const [a, b] = [bound(address), bound(address)];
    const ready = new ReadySet();
    ready.add(b.fd);
    assert.equal(ready.wait(0), 0);
    const inbox = new DatagramInbox(64);
    assert.equal(inbox.receive(b.fd), -constants.errno.EAGAIN);
    const toB = new DatagramTarget(a.fd, socketAddress(address, b.port));
    assert.equal(toB.send(Buffer.from('hello'), 1, 3), 3);
    assert.equal(ready.wait(1_000_000), 1);
    assert.equal(ready.ready(0), b.fd);
    assert.equal(inbox.receive(b.fd), 3);
    assert.equal(inbox.bytes.toString('latin1', 0, 3), 'ell');
    assert.deepEqual(inbox.from(), { address, port: a.port });
    assert.ok(inbox.isFrom(socketAddress(address, a.port)));
    assert.ok(!inbox.isFrom(socketAddress(address, b.port)));
    assert.ok(!inbox.isFrom(socketAddress(address === '::1' ? '::2' : '127.0.0.2', a.port)));
    ready.remove(b.fd);
    toB.send(Buffer.from('x'), 0, 1);
    assert.equal(ready.wait(0), 0);
    ready.close();
    closeSync(a.fd);
    closeSync(b.fd);
  });
}

test('a doorbell wakes, once for all rings, through its number alone', () => {
  const bell = new Doorbell();
  const ready = new ReadySet();
  ready.add(bell.fd);
  const other = new Doorbell(bell.fd);
  other.ring();
  other.ring();
  assert.equal(ready.wait(1_000_000), 1);
  bell.answer();
  assert.equal(ready.wait(0), 0);
  ready.close();
  bell.close();
});
