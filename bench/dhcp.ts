import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab, type LabHost } from '../test/lab/netns.ts';
import type { Running } from '../test/lab/process.ts';

/**
 * DHCP exchanges per second with the lease on disk before the ACK: ours beside dnsmasq and Kea, in
 * namespaces, alternating, medians. Needs root, dnsmasq and kea-dhcp4-server (perfdhcp is in
 * kea-admin). `node bench/dhcp.ts [--runs 5] [--seconds 5] [--generator own|perfdhcp [--rate 8000]]
 * [--folder DIR] [--only ours,kea,dnsmasq]`. Leases lie in DIR (default: the temporary folder);
 * ours waits for the disk before each ACK, the peers are run as their packages set them up.
 */
const SERVER = '10.77.0.1';
const RELAY = '10.77.0.2';
const NETWORK = '10.64.0.0/10';
const POOL = { first: '10.80.0.1', last: '10.127.255.254' };

function flag(name: string, otherwise: string): string {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? otherwise);
}

const runs = Number(flag('runs', '5'));
const seconds = flag('seconds', '5');
const generator = flag('generator', 'own');
const flight = flag('flight', '128');
const peers = flag('only', 'ours,kea,dnsmasq').split(',');
const folder = mkdtempSync(join(flag('folder', tmpdir()), 'pb-bench-dhcp-'));

type Starter = (lab: Lab, n: number) => Promise<Running>;

async function ours(lab: Lab, n: number): Promise<Running> {
  const options = {
    quiet: true,
    journalPath: join(folder, `ours-${n}`),
    networks: [
      {
        interface: lab.bridge,
        mode: 'server',
        serverAddress: SERVER,
        force: true,
        strangersPerSecond: 1e9,
        subnets: [
          {
            network: NETWORK,
            pool: [POOL],
            leaseSeconds: 3600,
            routers: [SERVER],
            dnsServers: [SERVER],
          },
        ],
      },
    ],
  };
  const script = join(import.meta.dirname, '../test/interop/dhcp-lab-server.ts');
  const extra = (process.env['BENCH_NODE_FLAGS'] ?? '').split(' ').filter(Boolean);
  const server = lab.start('node', [...extra, script, JSON.stringify(options)], { cwd: folder });
  await server.waitFor(/"ready"/);
  return server;
}

async function kea(lab: Lab, n: number): Promise<Running> {
  const config = {
    Dhcp4: {
      'interfaces-config': { interfaces: [lab.bridge] },
      'control-socket': undefined,
      'lease-database': { type: 'memfile', persist: true, name: join(folder, `kea-${n}.csv`) },
      'multi-threading': {
        'enable-multi-threading': true,
        'thread-pool-size': 4,
        'packet-queue-size': 64,
      },
      'valid-lifetime': 3600,
      subnet4: [
        {
          id: 1,
          subnet: NETWORK,
          pools: [{ pool: `${POOL.first} - ${POOL.last}` }],
          'option-data': [
            { name: 'routers', data: SERVER },
            { name: 'domain-name-servers', data: SERVER },
          ],
        },
      ],
      loggers: [{ name: 'kea-dhcp4', severity: 'WARN', output_options: [{ output: 'stderr' }] }],
    },
  };
  const path = join(folder, 'kea.conf');
  writeFileSync(path, JSON.stringify(config));
  const env = { ...process.env, KEA_PIDFILE_DIR: folder, KEA_LOCKFILE_DIR: folder };
  const server = lab.start('kea-dhcp4', ['-c', path], { env });
  await listening(lab);
  return server;
}

async function dnsmasq(lab: Lab, n: number): Promise<Running> {
  const server = lab.start('dnsmasq', [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--port=0',
    '--user=root',
    `--interface=${lab.bridge}`,
    `--dhcp-range=${POOL.first},${POOL.last},255.192.0.0,3600`,
    '--dhcp-lease-max=10000000',
    '--no-ping',
    `--dhcp-leasefile=${join(folder, `dnsmasq-${n}`)}`,
  ]);
  await listening(lab);
  return server;
}

const starters: Readonly<Record<string, Starter>> = { ours, kea, dnsmasq };

/** Waits until something listens on port 67 beside the bridge. */
async function listening(lab: Lab): Promise<void> {
  const watch = 'until ss -Hlun sport = :67 | grep -q .; do sleep 0.05; done';
  await lab.run('timeout', ['20', 'sh', '-c', watch]);
}

async function load(host: LabHost): Promise<number> {
  if (generator === 'own') {
    const script = join(import.meta.dirname, 'dhcp-load.ts');
    const out = await host.run('node', [script, RELAY, SERVER, seconds, flight]);
    return (JSON.parse(out) as { perSecond: number }).perSecond;
  }
  const args = [
    '-4',
    '-l',
    RELAY,
    '-r',
    flag('rate', '8000'),
    '-R',
    '10000000',
    '-p',
    seconds,
    SERVER,
  ];
  const run = host.start('perfdhcp', ['-W', '1000000', ...args]);
  const { stdout } = await run.finished();
  const received = [...stdout.matchAll(/received packets: (\d+)/g)].map((m) => Number(m[1]));
  return Math.round((received[1] ?? 0) / Number(seconds));
}

async function once(name: string, n: number): Promise<number> {
  const lab = await Lab.create(`${SERVER}/10`);
  try {
    const host = await lab.addHost({ address: `${RELAY}/10` });
    const server = await starters[name]!(lab, n);
    const rate = await load(host);
    await server.stop();
    return rate;
  } finally {
    await lab.close();
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const results = new Map<string, number[]>(peers.map((p) => [p, []]));
try {
  for (let n = 0; n < runs; n++) {
    for (const name of n % 2 === 0 ? peers : peers.toReversed()) {
      const rate = await once(name, n);
      results.get(name)?.push(rate);
      process.stdout.write(`run ${n + 1} ${name}: ${rate} exchanges/s\n`);
    }
  }
  const own = median(results.get('ours') ?? []);
  for (const [name, rates] of results) {
    const ratio = name === 'ours' ? '' : `  ours/${name} ${(own / median(rates)).toFixed(2)}`;
    process.stdout.write(`${name}: median ${median(rates)} exchanges/s${ratio}\n`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
