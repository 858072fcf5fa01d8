import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { parseConfig } from './config.ts';
import { matchNetworks } from './networks.ts';
import { portFindings } from './preflight.ts';

test('a port that is taken: one line of what, one of why, one of what to do', async () => {
  const squatter = createSocket('udp4').bind(0, '127.0.0.1');
  try {
    await once(squatter, 'listening');
    const { port } = squatter.address();
    const ports = `tftp: { port: ${port} }\nhttp: { port: ${port} }\niscsi: { port: ${port} }\n`;
    const config = parseConfig(`${ports}networks: [{ interface: lo, dhcp: off }]`, 'c.yaml');
    const ipv4 = [{ address: '127.0.0.1', prefix: 8 }];
    const card = { name: 'lo', index: 1, mac: '', mtu: 1500, up: true, running: true };
    const lo = { ...card, loopback: true, ipv4, ipv6: [] };
    const { networks } = matchNetworks(config.networks, [lo], []);
    const [tftp] = await portFindings(config, networks);
    assert.equal(tftp?.level, 'warn');
    assert.match(tftp.what, new RegExp(`TFTP port ${port} cannot be had on 127\\.0\\.0\\.1`));
    assert.equal(tftp.why, 'another program already listens there');
  } finally {
    squatter.close();
  }
});
