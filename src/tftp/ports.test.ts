import assert from 'node:assert/strict';
import { closeSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { openUdpSocket } from '#os/mod.ts';
import { Ports } from './ports.ts';

test('a port that cannot be watched is closed', () => {
  const bell = openUdpSocket({ family: 4, port: 0 });
  const ports = new Ports(bell, () => undefined);
  // Without its epoll it can watch nothing more.
  ports.close();
  const before = readdirSync('/proc/self/fd').length;
  const silent = { fromClient: () => undefined, fromStranger: () => undefined };
  const client = { address: '127.0.0.1', port: 69 };
  assert.throws(() => ports.open({ family: 4, port: 0 }, client, silent), { code: /^E/ });
  assert.equal(readdirSync('/proc/self/fd').length, before);
  closeSync(bell);
});
