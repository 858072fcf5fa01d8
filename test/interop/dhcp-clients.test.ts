import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { need } from '../lab/need.ts';
import { DhcpLab, eventsOf } from './dhcp-lab.ts';

const MAC = '52:54:00:77:00:01';

test('udhcpc: address, unicast answer, fixed address and host name, release', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    const reservations = { [MAC]: { address: '10.77.0.7', hostName: 'seven' } };
    const server = await bed.serve({ reservations });
    const stranger = await bed.lab.addHost();
    assert.match(await bed.udhcpc(stranger), /script bound 10\.77\.0\.50/);
    assert.match(await stranger.run('ping', ['-c1', '-W2', bed.lab.ip]), /1 received/);
    const known = await bed.lab.addHost({ mac: MAC });
    assert.match(await bed.udhcpc(known, '-O', 'hostname'), /script bound 10\.77\.0\.7 seven/);
    const broadcast = await bed.lab.addHost();
    assert.match(await bed.udhcpc(broadcast, '-B'), /script bound 10\.77\.0\.51/);
    const args = ['-i', 'eth0', '-f', '-R', '-s', bed.script()];
    const leaving = stranger.start('udhcpc', args);
    await leaving.waitFor(/script bound 10\.77\.0\.50/);
    await leaving.stop();
    await server.waitFor(/"kind":"release","address":"10\.77\.0\.50"/);
    assert.match(await bed.udhcpc(stranger), /script bound 10\.77\.0\.50/, 'the same again');
    assert.ok(!eventsOf(server).some((e) => e.kind === 'dropped' || e.kind === 'nak'));
  } finally {
    await bed.close();
  }
});

test('dhclient: address, renewal by unicast, reboot into the same, release', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'dhclient'] })) return;
  const bed = await DhcpLab.create();
  try {
    const usual = bed.network();
    const subnets = usual.subnets.map((s) => ({ ...s, leaseSeconds: 20 }));
    const server = await bed.serve({ networks: [{ ...usual, subnets }] });
    const host = await bed.lab.addHost({ mac: MAC });
    const files = ['-lf', join(bed.folder, 'dhclient.leases'), '-pf', join(bed.folder, 'pid')];
    const args = ['-d', '-v', '-cf', '/dev/null', '-sf', bed.script(), ...files, 'eth0'];
    const first = host.start('dhclient', args);
    await first.waitFor(/script BOUND 10\.77\.0\.50/);
    await first.waitFor(/script RENEW 10\.77\.0\.50/);
    await first.stop('SIGKILL');
    const second = host.start('dhclient', args);
    await second.waitFor(/script REBOOT 10\.77\.0\.50/);
    await second.stop('SIGKILL');
    await host.run('dhclient', [
      '-r',
      '-v',
      '-cf',
      '/dev/null',
      '-sf',
      bed.script(),
      ...files,
      'eth0',
    ]);
    await server.waitFor(/"kind":"release","address":"10\.77\.0\.50"/);
    // Where an answer takes its time, it is asked for again.
    const kinds = [...new Set(eventsOf(server).map((e) => e.kind))];
    assert.deepEqual(kinds.slice(0, 4), ['discover', 'offer', 'request', 'ack']);
    assert.ok(!kinds.includes('nak') && !kinds.includes('dropped'), kinds.join(' '));
  } finally {
    await bed.close();
  }
});

test('perfdhcp as a relay: every exchange is answered, each with an address of its own', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'perfdhcp'] })) return;
  const bed = await DhcpLab.create();
  try {
    const usual = bed.network({ strangersPerSecond: 10_000 });
    const pool = [{ first: '10.77.8.0', last: '10.77.31.255' }];
    const subnets = usual.subnets.map((s) => ({ ...s, network: '10.77.0.0/16', pool }));
    const server = await bed.serve({ networks: [{ ...usual, subnets }], quiet: true });
    const relay = await bed.lab.addHost({ address: '10.77.0.2/24' });
    // Few enough that none is lost in a socket's buffer while a slow host does something else.
    const count = 1000;
    const args = ['-4', '-l', '10.77.0.2', '-r', '200', '-R', '6000', '-n', `${count}`, bed.lab.ip];
    const run = relay.start('perfdhcp', args);
    const { stdout } = await run.finished();
    const received = [...stdout.matchAll(/received packets: (\d+)/g)].map((m) => Number(m[1]));
    // perfdhcp does not wait for the answers to its last requests.
    assert.ok((received[0] ?? 0) >= count * 0.9, stdout);
    assert.ok((received[1] ?? 0) >= count * 0.85, stdout);
    assert.match(stdout, /non unique addresses: 0[^]*non unique addresses: 0/);
    await server.stop();
    const [status] = JSON.parse(
      server.output.split('\n').find((l) => l.startsWith('[')) ?? '[]',
    ) as {
      counters: Record<string, number>;
      subnets: { active: number }[];
    }[];
    assert.equal(status?.counters['not-durable'], 0);
    assert.equal(status?.counters['no-free-address'], 0);
    assert.ok((status?.counters['committed'] ?? 0) >= (received[1] ?? 0));
    assert.ok((status?.subnets[0]?.active ?? 0) <= (status?.counters['committed'] ?? 0));
  } finally {
    await bed.close();
  }
});

test('a pool that is used up: the drop says whose request it was', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    const [subnet] = bed.network().subnets;
    const pool = [{ first: '10.77.0.50', last: '10.77.0.50' }];
    const networks = [bed.network({ subnets: [{ ...subnet!, pool }] })];
    const server = await bed.serve({ networks });
    assert.match(await bed.udhcpc(await bed.lab.addHost()), /script bound 10\.77\.0\.50/);
    const late = await bed.lab.addHost({ mac: MAC });
    late.start('udhcpc', ['-i', 'eth0', '-f', '-t', '1', '-T', '1', '-n', '-s', bed.script()]);
    await server.waitFor(/"kind":"dropped".*"no-free-address"|"no-free-address".*"dropped"/);
    const dropped = eventsOf(server).find(
      (e) => e.kind === 'dropped' && e.reason === 'no-free-address',
    );
    assert.equal(dropped?.mac, MAC);
  } finally {
    await bed.close();
  }
});

test('an address in use is found before it is offered', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    await bed.lab.addHost({ address: '10.77.0.50/24' });
    const server = await bed.serve();
    await server.waitFor(/"kind":"conflict","address":"10\.77\.0\.50"/);
    assert.match(await bed.udhcpc(await bed.lab.addHost()), /script bound 10\.77\.0\.51/);
  } finally {
    await bed.close();
  }
});

test('an address whose user has gone is offered, whatever the ARP table remembers', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'ping', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    const gone = await bed.lab.addHost({ address: '10.77.0.50/24' });
    await bed.lab.run('ping', ['-c', '1', '-W', '5', '10.77.0.50']);
    await gone.run('ip', ['addr', 'flush', 'dev', 'eth0']);
    const client = await bed.lab.addHost();
    // It is somebody's: its conflict tells that the round of questions is over.
    await bed.lab.addHost({ address: '10.77.0.51/24' });
    const server = await bed.serve();
    await server.waitFor(/"kind":"conflict","address":"10\.77\.0\.51"/);
    assert.match(await bed.udhcpc(client), /script bound 10\.77\.0\.50/);
    assert.doesNotMatch(server.output, /"kind":"conflict","address":"10\.77\.0\.50"/);
  } finally {
    await bed.close();
  }
});

test('adversary 8: kill -9 between lease commit and ACK: the same address after the restart', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    const host = await bed.lab.addHost({ mac: MAC });
    const other = await bed.lab.addHost();
    const doomed = await bed.serve({ crashOn: 'ack' });
    const client = bed.udhcpc(host);
    const { signal, stdout } = await doomed.finished();
    assert.equal(signal ?? 'SIGKILL', 'SIGKILL');
    assert.ok(!stdout.includes('"ack"'), 'died before the ACK');
    const server = await bed.serve();
    // Of the log, which comes another way than the line that says it is ready.
    await server.waitFor(/"active":1/);
    assert.match(await bed.udhcpc(other), /script bound 10\.77\.0\.51/, 'not given to another');
    assert.match(await client, /script bound 10\.77\.0\.50/);
  } finally {
    await bed.close();
  }
});
