import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { need } from '../lab/need.ts';
import type { Running } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import { DhcpLab } from './dhcp-lab.ts';

const MAC = '52:54:00:77:00:03';
const URL = { kind: 'url', url: 'http://10.77.0.1/script' } as const;

async function advertise(bed: DhcpLab): Promise<Running> {
  const script = join(import.meta.dirname, 'radv-lab-server.ts');
  const service = bed.lab.start(process.execPath, [script, bed.lab.bridge]);
  await service.waitFor(/ready/);
  return service;
}

test('QEMU’s iPXE of 2019 does not wait for IPv6 after one advertisement', async (t) => {
  const tools = ['ip', 'qemu-system-x86_64', 'tcpdump', 'busybox'];
  if (!need(t, { root: true, tools })) return;
  const bed = await DhcpLab.create();
  try {
    await bed.serve({ boot: { ipxe: URL } });
    const service = await advertise(bed);
    const web = bed.lab.start('busybox', ['nc', '-l', '-p', '80']);
    const watch = bed.lab.start('tcpdump', ['-nli', 'br0', '--immediate-mode', 'icmp6']);
    await watch.waitFor(/listening on/);
    const tap = await bed.lab.addTap();
    const flags =
      `-accel tcg,thread=multi,tb-size=128 -m 256 -display none -boot n ` +
      `-netdev tap,id=n,ifname=${tap},script=no,downscript=no ` +
      `-device virtio-net-pci,netdev=n,mac=${MAC}`;
    bed.lab.start('qemu-system-x86_64', flags.split(' '));
    await web.waitFor(/GET \/script HTTP/, GUEST_LIMIT_MS);
    await service.waitFor(/answered fe80::5054:ff:fe77:3%br0 on br0/);
    // Left alone it asks six times, with growing pauses (15.8 s in all; four are over in 3.8).
    await watch.waitFor(/fe77:3 > ff02::2/);
    const asked = watch.output.match(/fe80::5054:ff:fe77:3 > ff02::2: ICMP6, router solicitation/g);
    assert.ok(asked !== null && asked.length <= 4, watch.output);
  } finally {
    await bed.close();
  }
});

test('a host that listens to routers gets no route and no address', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'sysctl', 'tcpdump'] })) return;
  const bed = await DhcpLab.create();
  try {
    const service = await advertise(bed);
    const host = await bed.lab.addHost();
    const watch = host.start('tcpdump', ['-nli', 'eth0', 'icmp6 and ip6[40] == 134']);
    await watch.waitFor(/listening on/);
    for (const key of ['accept_ra', 'accept_ra_defrtr', 'autoconf']) {
      await host.run('sysctl', ['-w', `net.ipv6.conf.eth0.${key}=1`]);
    }
    await host.run('ip', ['link', 'set', 'eth0', 'down']);
    await host.run('ip', ['link', 'set', 'eth0', 'up']);
    await watch.waitFor(/router advertisement/);
    await service.waitFor(/answered fe80/);
    assert.equal((await host.run('ip', ['-6', 'route', 'show', 'default'])).trim(), '');
    assert.equal((await host.run('ip', ['-6', 'addr', 'show', 'scope', 'global'])).trim(), '');
  } finally {
    await bed.close();
  }
});
