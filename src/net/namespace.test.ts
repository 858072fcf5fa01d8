import assert from 'node:assert/strict';
import { test } from 'node:test';
import { need } from '../../test/lab/need.ts';
import { Lab, type LabHost } from '../../test/lab/netns.ts';
import type { Running } from '../../test/lab/process.ts';

/** Runs a piece of our own code inside a namespace of the lab. */
function inside(where: Lab | LabHost, code: string): Running {
  const door = new URL('./mod.ts', import.meta.url).pathname;
  const os = new URL('../os/mod.ts', import.meta.url).pathname;
  const program = `import * as net from '${door}'; import * as os from '${os}'; ${code}`;
  return where.start(process.execPath, ['--input-type=module', '-e', program]);
}

test('a socket bound to an interface hears broadcasts of that interface only', async (t) => {
  if (!need(t, { root: true, tools: ['ip'] })) return;
  const lab = await Lab.create();
  try {
    await lab.run('ip', ['link', 'add', 'other', 'type', 'bridge']);
    await lab.run('ip', ['link', 'set', 'other', 'up']);
    const listener = inside(
      lab,
      `for (const name of ['br0', 'other']) net.UdpSocket.open(
         { family: 4, interface: name, port: 6767, broadcast: true },
         { onMessage(b, from) { console.log(name, b.toString(), from.address); } });
       console.log('listening');`,
    );
    await listener.waitFor(/listening/);
    const host = await lab.addHost({ address: '10.77.0.2/24' });
    const sender = inside(
      host,
      `const s = net.UdpSocket.open({ family: 4, interface: 'eth0', port: 0, broadcast: true },
         { onMessage() {} });
       s.send(Buffer.from('hello'), 6767, '255.255.255.255', () => s.close());`,
    );
    assert.equal((await sender.finished()).code, 0);
    await listener.waitFor(/br0 hello 10\.77\.0\.2/);
    assert.doesNotMatch(listener.output, /other hello/);
  } finally {
    await lab.close();
  }
});

test('an ARP entry by hand reaches a client that cannot answer ARP', async (t) => {
  if (!need(t, { root: true, tools: ['ip'] })) return;
  const lab = await Lab.create();
  try {
    const mac = '52:54:00:12:34:56';
    const set = inside(lab, `os.setNeighbour('br0', '10.77.0.50', '${mac}'); console.log('set');`);
    assert.match((await set.finished()).stdout, /set/);
    const table = await lab.run('ip', ['neigh', 'show', 'dev', 'br0']);
    assert.match(table, new RegExp(`10\\.77\\.0\\.50 lladdr ${mac}`));
    const bad = inside(lab, `os.setNeighbour('nope0', '10.77.0.50', '${mac}');`);
    assert.match((await bad.finished()).stderr, /EnvironmentError/);
  } finally {
    await lab.close();
  }
});

test('raw ICMPv6: a router solicitation arrives, other types do not, an answer goes out', async (t) => {
  if (!need(t, { root: true, tools: ['ip'] })) return;
  const lab = await Lab.create();
  try {
    const listener = inside(
      lab,
      `const s = net.Icmp6Socket.open({ interface: 'br0', types: [133], groups: ['ff02::2'] }, {
         onMessage(b, from) {
           console.log('type', b[0], from);
           // The kernel refuses while it still checks its own address for duplicates.
           try { s.send(Buffer.from([134, 0, 0, 0, 64, ...new Uint8Array(11)]), from); }
           catch (e) { console.log(e.code); }
         } });
       console.log('listening');`,
    );
    await listener.waitFor(/listening/);
    const host = await lab.addHost();
    const client = inside(
      host,
      `const s = net.Icmp6Socket.open({ interface: 'eth0', types: [134], groups: [] }, {
         onMessage(b, from) {
           console.log('answer', b[0], b[4], from);
           clearInterval(again);
           s.close();
         } });
       // Solicits until it is answered, as hosts do: both ends first settle their addresses.
       const again = setInterval(() => {
         try {
           s.send(Buffer.from([136, ...new Uint8Array(23)]), 'ff02::2');
           s.send(Buffer.from([133, 0, 0, 0, 0, 0, 0, 0]), 'ff02::2');
         } catch (e) { console.log(e.code); }
       }, 100);`,
    );
    const end = await client.finished();
    assert.match(end.stdout, /answer 134 64 fe80::\S+%eth0/, end.stderr);
    await listener.waitFor(/type 133 fe80::\S*%br0/);
    assert.doesNotMatch(listener.output, /type 136/);
  } finally {
    await lab.close();
  }
});

test('interfaces that are down or without a link are listed, per namespace', async (t) => {
  if (!need(t, { root: true, tools: ['ip'] })) return;
  const lab = await Lab.create();
  try {
    await lab.run('ip', ['link', 'add', 'off0', 'mtu', '1280', 'type', 'bridge']);
    const list = inside(
      lab,
      `console.log(JSON.stringify([net.listInterfaces(), net.defaultRouteInterfaces()]));`,
    );
    const [all, routes] = JSON.parse((await list.finished()).stdout) as [
      { name: string; mtu: number; up: boolean; ipv4: unknown[]; mac: string }[],
      string[],
    ];
    // Some kernels give every namespace tunnels of its own (tunl0, sit0, …).
    const interfaces = all.filter((i) => !/^(tunl|sit|gre|erspan|ip6|ip_vti)/.test(i.name));
    assert.deepEqual(
      interfaces.map((i) => i.name),
      ['lo', 'br0', 'off0'],
    );
    const [, bridge, off] = interfaces;
    assert.deepEqual(bridge?.ipv4, [{ address: '10.77.0.1', prefix: 24 }]);
    assert.equal(bridge?.up, true);
    assert.match(bridge?.mac ?? '', /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    assert.deepEqual([off?.mtu, off?.up], [1280, false]);
    assert.deepEqual(routes, []);
  } finally {
    await lab.close();
  }
});
