import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, silentLog } from '#base/mod.ts';
import type { BootRequest, DhcpEvent } from '#dhcp/mod.ts';
import { MachineService, MemoryMachineRepository } from '#machines/mod.ts';
import { AddressBook } from './address-book.ts';
import { BootDhcpPolicy } from './dhcp-policy.ts';
import { DhcpStory } from './dhcp-story.ts';
import { MemoryEventLog, Timeline } from './timeline.ts';

const MAC = '52:54:00:00:00:04';
const LOADERS = new Map([
  [0, 'undionly.kpxe'],
  [7, 'snponly.efi'],
  [16, 'snponly.efi'],
]);

function setup(): { machines: MachineService; policy: BootDhcpPolicy } {
  const machines = new MachineService({
    repository: new MemoryMachineRepository(),
    images: { has: () => true },
    clock: new FakeClock(),
  });
  const policy = new BootDhcpPolicy({
    machines,
    loaders: { fileFor: (arch) => LOADERS.get(arch) },
    httpPort: 8080,
    fixedHosts: new Map([['52:54:00:00:00:aa', { address: '10.77.0.9', hostName: 'printer' }]]),
  });
  return { machines, policy };
}

const ask = (more: Partial<BootRequest>): BootRequest => ({
  mac: MAC,
  userClass: [],
  stage: 'firmware',
  interface: 'br0',
  serverAddress: '10.77.0.1',
  viaProxy: false,
  ...more,
});

test('firmware gets the loader for its architecture, iPXE its script and never the loader', () => {
  const { policy } = setup();
  assert.deepEqual(policy.bootAnswer(ask({ arch: 0 })), { kind: 'tftp', file: 'undionly.kpxe' });
  assert.deepEqual(policy.bootAnswer(ask({ arch: 7 })), { kind: 'tftp', file: 'snponly.efi' });
  for (const arch of [0, 7]) {
    assert.deepEqual(policy.bootAnswer(ask({ arch, stage: 'ipxe' })), {
      kind: 'url',
      url: 'http://10.77.0.1:8080/boot/52-54-00-00-00-04.ipxe',
    });
  }
});

test('UEFI HTTP Boot gets a URL; an unknown architecture and a system get nothing to boot', () => {
  const { policy } = setup();
  assert.deepEqual(policy.bootAnswer(ask({ arch: 16, stage: 'http-client' })), {
    kind: 'url',
    url: 'http://10.77.0.1:8080/loader/snponly.efi',
  });
  assert.equal(policy.bootAnswer(ask({ arch: 31 })), undefined);
  assert.deepEqual(policy.bootAnswer(ask({ stage: 'none' })), { kind: 'none' });
});

test('a machine’s own loader wins, by file or by URL', () => {
  const { machines, policy } = setup();
  machines.add({ name: 'p4', macs: [MAC], plan: { kind: 'local' }, loader: 'ipxe.pxe' });
  assert.deepEqual(policy.bootAnswer(ask({ arch: 0 })), { kind: 'tftp', file: 'ipxe.pxe' });
  machines.set('p4', { loader: 'http://10.0.0.1/x.efi' });
  assert.deepEqual(policy.bootAnswer(ask({ arch: 7 })), {
    kind: 'url',
    url: 'http://10.0.0.1/x.efi',
  });
});

test('fixed addresses: of machines and of other hosts, kept out of the pool as they change', () => {
  const { machines, policy } = setup();
  const client = { mac: MAC, interface: 'br0' };
  assert.equal(policy.reservationFor(client), undefined);
  machines.add({ name: 'p4', macs: [MAC], plan: { kind: 'local' }, address: '10.77.0.50' });
  assert.deepEqual(policy.reservationFor(client), { address: '10.77.0.50', hostName: 'p4' });
  assert.deepEqual(policy.reservationFor({ ...client, mac: '52:54:00:00:00:aa' }), {
    address: '10.77.0.9',
    hostName: 'printer',
  });
  assert.ok(policy.isReserved('10.77.0.50') && policy.isReserved('10.77.0.9'));
  machines.set('p4', { address: null });
  assert.ok(!policy.isReserved('10.77.0.50'));
});

test('a machine that introduced itself is a stranger to DHCP until its owner names it', () => {
  const { machines, policy } = setup();
  const client = { mac: MAC, interface: 'br0' };
  const { name } = machines.discover({ mac: MAC })!;
  assert.equal(policy.reservationFor(client), undefined);
  machines.set(name, { name: 'p4' });
  assert.deepEqual(policy.reservationFor(client), { hostName: 'p4' });
});

test('a host of polyboot.yaml that becomes a machine keeps its address until it is given another', () => {
  const { machines, policy } = setup();
  const client = { mac: '52:54:00:00:00:aa', interface: 'br0' };
  machines.add({ name: 'till', macs: [client.mac], plan: { kind: 'local' } });
  assert.deepEqual(policy.reservationFor(client), { address: '10.77.0.9', hostName: 'till' });
  machines.set('till', { address: '10.77.0.51' });
  assert.deepEqual(policy.reservationFor(client), { address: '10.77.0.51', hostName: 'till' });
});

test('the story of DHCP: who asked decides what an answer means', () => {
  const clock = new FakeClock();
  const timeline = new Timeline({ clock, log: new MemoryEventLog(), machineOf: () => undefined });
  const addresses = new AddressBook(() => undefined);
  const story = new DhcpStory({ timeline, addresses, log: silentLog });
  const who = { interface: 'br0', mac: MAC, xid: 1 };
  const asks = (stage: BootRequest['stage']): DhcpEvent => ({
    ...who,
    kind: 'discover',
    stage,
    userClass: [],
    port: 67,
    arch: 7,
    secs: 0,
  });
  const ack: DhcpEvent = { ...who, kind: 'ack', address: '10.77.0.100', leaseSeconds: 60 };
  for (const event of [asks('firmware'), ack, asks('ipxe'), ack]) story.dhcp(event);
  timeline.reach(MAC, 'disk');
  for (const event of [asks('none'), ack]) story.dhcp(event);
  const stages = timeline.after(0).map((e) => e.stage);
  assert.deepEqual(stages, ['power-on', 'dhcp', 'ipxe', 'disk', 'os']);
  assert.equal(addresses.macOf('::ffff:10.77.0.100'), MAC);
  story.dhcp({ ...who, kind: 'dropped', reason: 'no-free-address' });
  assert.match(timeline.after(0).at(-1)?.problem?.what ?? '', /pool is used up/);
  const last = timeline.lastId();
  const telephone = { ...asks('none'), mac: '52:54:00:00:00:99' };
  story.dhcp(telephone);
  story.dhcp({ ...who, mac: telephone.mac, kind: 'dropped', reason: 'no-free-address' });
  assert.equal(timeline.lastId(), last, 'a telephone without an address is no boot');
  timeline.close();
});
