import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { need } from '../lab/need.ts';
import type { Running } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import { DhcpLab, eventsOf } from './dhcp-lab.ts';

const OVMF = '/usr/share/ovmf/OVMF.fd';
const MAC = '52:54:00:77:00:02';
const BOOT = {
  'firmware 7': { kind: 'tftp', file: 'snponly.efi' },
  firmware: { kind: 'tftp', file: 'undionly.kpxe' },
  ipxe: { kind: 'url', url: 'http://10.77.0.1/script' },
} as const;

test('adversary 5: refuses to be a server beside another one, and says which', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'dnsmasq', 'udhcpc'] })) return;
  const bed = await DhcpLab.create();
  try {
    await bed.dnsmasq();
    const { code, stderr } = await bed.start().finished();
    assert.equal(code, 1);
    assert.match(stderr, /will not be a DHCP server on br0/);
    assert.match(stderr, /10\.77\.0\.2 answers there already \(it offered 10\.77\.0\.1\d\d\)/);
    const forced = await bed.serve({ networks: [bed.network({ force: true })] });
    // Told to serve all the same, it sees the other one's offers go by.
    await bed.udhcpc(await bed.lab.addHost(), '-B');
    await forced.waitFor(/"kind":"foreign-server","server":"10\.77\.0\.2"|"server":"10\.77\.0\.2"/);
  } finally {
    await bed.close();
  }
});

test('refuses to be a server on the interface of the default route', async (t) => {
  if (!need(t, { root: true, tools: ['ip'] })) return;
  const bed = await DhcpLab.create();
  try {
    await bed.lab.run('ip', ['route', 'add', 'default', 'via', '10.77.0.254', 'dev', 'br0']);
    const { code, stderr } = await bed.start().finished();
    assert.equal(code, 1);
    assert.match(stderr, /the default route leaves by it/);
    assert.match(stderr, /use proxy mode/);
  } finally {
    await bed.close();
  }
});

test('ports that are taken, and a journal that cannot be written, are said and nothing is left', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'dnsmasq'] })) return;
  const bed = await DhcpLab.create();
  try {
    const broken = bed.start({ journalPath: join(bed.folder, 'no', 'such', 'folder') });
    const missing = await broken.finished();
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /cannot write the lease journal/);
    const squatter = bed.lab.start('dnsmasq', [
      '--no-daemon',
      '--conf-file=/dev/null',
      '--port=0',
      '--interface=br0',
      '--dhcp-range=10.77.0.100,10.77.0.120,600',
      '--leasefile-ro',
    ]);
    await squatter.waitFor(/DHCP, IP range/);
    const proxy = await bed.start({ networks: [bed.network({ mode: 'proxy' })] }).finished();
    assert.equal(proxy.code, 1);
    assert.match(proxy.stderr, /port 67/);
    assert.match(proxy.stderr, /another program already listens/);
  } finally {
    await bed.close();
  }
});

test('proxy beside dnsmasq: it gives the address, we give QEMU’s iPXE the script', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'dnsmasq', 'qemu-system-x86_64', 'busybox'] })) return;
  const bed = await DhcpLab.create();
  try {
    const other = await bed.dnsmasq();
    const server = await bed.serve({ networks: [bed.network({ mode: 'proxy' })], boot: BOOT });
    const web = bed.lab.start('busybox', ['nc', '-l', '-p', '80']);
    const tap = await bed.lab.addTap();
    bed.lab.start('qemu-system-x86_64', [...machine(tap), '-boot', 'n']);
    await server.waitFor(/"kind":"proxy-offer"/, GUEST_LIMIT_MS);
    await web.waitFor(/GET \/script HTTP/, GUEST_LIMIT_MS);
    await other.waitFor(/DHCPACK\(eth0\) 10\.77\.0\.1\d\d/);
    const offer = eventsOf(server).find((e) => e.kind === 'proxy-offer');
    assert.deepEqual(offer?.boot, BOOT.ipxe);
  } finally {
    await bed.close();
  }
});

for (const school of ['boot-server', 'binl', 'direct'] as const) {
  test(`proxy beside dnsmasq: OVMF fetches its loader, school ${school}`, async (t) => {
    const tools = ['ip', 'dnsmasq', 'qemu-system-x86_64', 'tcpdump'];
    if (!need(t, { root: true, tools, files: [OVMF] })) return;
    const bed = await DhcpLab.create();
    try {
      await bed.dnsmasq();
      const schools = [{ mac: MAC, school }];
      const networks = [bed.network({ mode: 'proxy' })];
      const server = await bed.serve({ networks, boot: BOOT, schools });
      const tftp = await watchTftp(bed);
      const tap = await bed.lab.addTap();
      bed.lab.start('qemu-system-x86_64', [...machine(tap, ',romfile='), '-bios', OVMF]);
      await server.waitFor(/"kind":"proxy-offer"/, GUEST_LIMIT_MS);
      await tftp.waitFor(/RRQ "snponly\.efi"/, GUEST_LIMIT_MS);
      // What was written before is read before, but not from two processes.
      if (school !== 'direct') await server.waitFor(/"kind":"proxy-ack"/);
      const at4011 = eventsOf(server).some((e) => e.kind === 'proxy-ack');
      assert.equal(at4011, school !== 'direct');
    } finally {
      await bed.close();
    }
  });
}

test('server: OVMF gets address and loader', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'qemu-system-x86_64', 'tcpdump'], files: [OVMF] }))
    return;
  const bed = await DhcpLab.create();
  try {
    const server = await bed.serve({ boot: BOOT });
    const tftp = await watchTftp(bed);
    const tap = await bed.lab.addTap();
    bed.lab.start('qemu-system-x86_64', [...machine(tap, ',romfile='), '-bios', OVMF]);
    await server.waitFor(/"kind":"ack"/, GUEST_LIMIT_MS);
    await tftp.waitFor(/RRQ "snponly\.efi"/, GUEST_LIMIT_MS);
    const ack = eventsOf(server).find((e) => e.kind === 'ack');
    assert.deepEqual(ack?.boot, BOOT['firmware 7']);
  } finally {
    await bed.close();
  }
});

/** Sees what is asked of TFTP; nothing answers. */
async function watchTftp(bed: DhcpLab): Promise<Running> {
  const watch = bed.lab.start('tcpdump', ['-nli', 'br0', 'udp dst port 69']);
  await watch.waitFor(/listening on/);
  return watch;
}

function machine(tap: string, nic = ''): string[] {
  const flags =
    `-accel tcg,thread=multi,tb-size=128 -m 256 -display none ` +
    `-netdev tap,id=n,ifname=${tap},script=no,downscript=no ` +
    `-device virtio-net-pci,netdev=n,mac=${MAC}${nic}`;
  return flags.split(' ');
}
