import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InterfaceInfo } from '#net/mod.ts';
import { parseConfig, type NetworkConfig } from './config.ts';
import { checkMachineAddress, dhcpNetworkOf, matchNetworks } from './networks.ts';

const card = (name: string, more: Partial<InterfaceInfo> = {}): InterfaceInfo => ({
  name,
  index: 2,
  mac: '52:54:00:00:00:01',
  mtu: 1500,
  up: true,
  running: true,
  loopback: false,
  ipv4: [{ address: '10.77.0.1', prefix: 24 }],
  ipv6: [],
  ...more,
});

function networks(yaml: string): readonly NetworkConfig[] {
  return parseConfig(`networks:\n${yaml}`, 'polyboot.yaml').networks;
}

const SERVER = '  - { interface: br0, dhcp: server, pool: 10.77.0.100-200 }';

test('a network becomes what the DHCP service needs', () => {
  const { networks: found, findings } = matchNetworks(networks(SERVER), [card('br0')], []);
  assert.deepEqual(findings, []);
  const dhcp = dhcpNetworkOf(found[0]!);
  assert.equal(dhcp.serverAddress, '10.77.0.1');
  assert.equal(dhcp.subnets[0]?.network, '10.77.0.0/24');
  assert.deepEqual(dhcp.subnets[0]?.pool, [{ first: '10.77.0.100', last: '10.77.0.200' }]);
  const slow = networks(SERVER.replace(' }', ', replyDelayMs: 300 }'));
  const [late] = matchNetworks(slow, [card('br0')], []).networks;
  assert.equal(dhcpNetworkOf(late!).replyDelayMs, 300);
});

test('an interface that is not there is named with those that are', () => {
  const { findings } = matchNetworks(networks(SERVER), [card('eth0'), card('eth1')], []);
  assert.equal(findings[0]?.level, 'fail');
  assert.match(findings[0]?.todo ?? '', /eth0, eth1/);
});

test('refuses to be a DHCP server on the default route, unless told so', () => {
  const refused = matchNetworks(networks(SERVER), [card('br0')], ['br0']).findings;
  assert.deepEqual(
    refused.map((f) => f.level),
    ['fail'],
  );
  const told = networks(SERVER.replace(' }', ', allowDefaultRoute: true }'));
  assert.deepEqual(matchNetworks(told, [card('br0')], ['br0']).findings, []);
  const proxy = networks('  - { interface: br0 }');
  assert.deepEqual(matchNetworks(proxy, [card('br0')], ['br0']).findings, []);
});

test('a pool outside the subnet, or touching its ends, is refused', () => {
  for (const pool of ['10.78.0.100-200', '10.77.0.0-10.77.0.9', '10.77.0.250-10.77.0.255']) {
    const config = networks(`  - { interface: br0, dhcp: server, pool: ${pool} }`);
    assert.equal(matchNetworks(config, [card('br0')], []).findings[0]?.level, 'fail', pool);
  }
});

test('an interface without an address, or without the one named, is told how to get it', () => {
  const bare = matchNetworks(networks(SERVER), [card('br0', { ipv4: [] })], []).findings;
  assert.match(bare[0]?.todo ?? '', /ip addr add/);
  const other = networks('  - { interface: br0, address: 10.9.9.9 }');
  assert.match(matchNetworks(other, [card('br0')], []).findings[0]?.todo ?? '', /10\.77\.0\.1/);
});

test('a fixed address that no machine can have is refused with the reason', () => {
  const yaml = `${SERVER.replace('}', '')}, router: 10.77.0.254, reservations: [{ mac: "52:54:00:00:00:09", address: 10.77.0.9 }] }`;
  const own = [
    { address: '10.77.0.1', prefix: 24 },
    { address: '10.9.9.9', prefix: 30 },
  ];
  const { networks: found } = matchNetworks(networks(yaml), [card('br0', { ipv4: own })], []);
  const refusals: Readonly<Record<string, RegExp>> = {
    '10.77.0.1': /own address on br0/,
    '10.9.9.9': /own address on br0/,
    '10.77.0.254': /router/,
    '10.77.0.9': /reserved in polyboot.yaml for 52:54:00:00:00:09/,
    '10.77.0.0': /no host's in 10.77.0.0\/24/,
    '10.77.0.255': /no host's/,
  };
  const macs = ['52:54:00:00:00:01'];
  for (const [address, why] of Object.entries(refusals))
    assert.throws(() => checkMachineAddress(found, address, macs), why);
  for (const address of ['10.77.0.2', '10.77.0.150', '192.168.1.4'])
    assert.doesNotThrow(() => checkMachineAddress(found, address, macs));
  // It is this very host, of which a machine is made.
  assert.doesNotThrow(() => checkMachineAddress(found, '10.77.0.9', ['52:54:00:00:00:09']));
});
