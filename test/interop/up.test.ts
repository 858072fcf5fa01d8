import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { need } from '../lab/need.ts';
import { Lab } from '../lab/netns.ts';
import { run, Running, type Finished } from '../lab/process.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const NEEDS = {
  root: true,
  tools: ['ip', 'ss', 'dnsmasq'],
  files: ['/usr/lib/ipxe/undionly.kpxe'],
};
/** The contract: SIGTERM ends cleanly in under two seconds with all data flushed. */
const STOP_LIMIT_MS = 2_000;

/** A private network and a folder for one server's configuration and state. */
type Bench = { readonly lab: Lab; readonly folder: string };

function bench(name: string, body: (bench: Bench) => Promise<void>): void {
  test(name, async (t: TestContext) => {
    if (!need(t, NEEDS)) return;
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-up-'));
    const lab = await Lab.create();
    try {
      await body({ lab, folder });
    } finally {
      await lab.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function configure({ folder }: Bench, networks: string, more = ''): Promise<string> {
  const file = join(folder, 'polyboot.yaml');
  const text = `state: ${folder}/state\nadmin: { socket: ${folder}/admin.sock }\n${more}networks:\n${networks}`;
  await writeFile(file, text);
  return file;
}

const SERVER = '  - { interface: br0, dhcp: server, pool: 10.77.0.100-200 }\n';
const PROXY = '  - { interface: br0 }\n';

function up({ lab }: Bench, config: string): Running {
  return lab.start(process.execPath, [MAIN, 'up', '--config', config]);
}

/** The environment of commands that are for the server in this folder. */
function envOf({ folder }: Bench): NodeJS.ProcessEnv {
  return { ...process.env, POLYBOOT_SOCKET: join(folder, 'admin.sock') };
}

/** A command to the server that runs; throws when it fails. */
async function cli(b: Bench, ...args: string[]): Promise<string> {
  return await run(process.execPath, [MAIN, ...args], { env: envOf(b) });
}

/** Adds the machine p4 with the disk "dos". */
async function addPentium(b: Bench): Promise<void> {
  await cli(b, 'image', 'create', 'dos', '--preset', 'dos', '--size', '504M');
  await cli(b, 'machine', 'add', 'p4', '--mac', '52:54:00:00:00:04', '--drive', 'dos');
}

/** Expects it not to start: exit code 1, and nothing left listening but what was there (`not`). */
async function refused(b: Bench, config: string, not = /^$/): Promise<Finished> {
  const result = await up(b, config).finished();
  assert.equal(result.code, 1, result.stderr);
  const left = (await listeners(b)).split('\n').filter((line) => line !== '' && !not.test(line));
  assert.deepEqual(left, [], 'nothing is half started');
  return result;
}

async function listeners({ lab }: Bench): Promise<string> {
  const text = await lab.run('ss', ['-Hlntu']);
  // The kernel's own raw sockets do not show here; anything that does is ours.
  return text.trim();
}

/** Ends a server as systemd does, and sees that nothing is left of it; how long it took. */
async function stopped(b: Bench, server: Running): Promise<number> {
  const startMs = performance.now();
  const ended = await server.stop();
  const stopMs = performance.now() - startMs;
  assert.equal(ended.code, 0, ended.stderr);
  assert.equal(await listeners(b), '');
  await assert.rejects(stat(join(b.folder, 'admin.sock')), { code: 'ENOENT' });
  return stopMs;
}

/**
 * Ends a server, and others like it, until one of three ends in time: one that is late may have
 * waited for the processor, one that is late each time waits by itself.
 */
async function endsInTime(
  b: Bench,
  config: string,
  first: Running,
  burden: () => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  const took: number[] = [];
  for (let server = first; took.length < 3; server = up(b, config)) {
    await server.waitFor(/^ready/m);
    await burden();
    const stopMs = await stopped(b, server);
    if (stopMs < STOP_LIMIT_MS) return;
    took.push(Math.round(stopMs));
  }
  assert.fail(`stopped in ${took.join(', ')} ms`);
}

bench('up: serves, answers commands, and ends cleanly on SIGTERM', async (b) => {
  const config = await configure(b, SERVER);
  const server = up(b, config);
  await server.waitFor(/^ready/m);
  await addPentium(b);
  const status = JSON.parse(await cli(b, 'status', '--json')) as {
    machines: number;
    images: number;
  };
  assert.deepEqual([status.machines, status.images], [1, 1]);
  const other = new Running(
    process.execPath,
    [MAIN, 'machine', 'add', 'p5', '--mac', '52:54:00:00:00:05', '--drive', 'dos'],
    { env: envOf(b) },
  );
  const refusal = await other.finished();
  assert.equal(refusal.code, 1);
  assert.match(refusal.stderr, /p4/, 'the refusal names who holds the disk');
  await endsInTime(b, config, server);
});

/** Logs in to a drive and is deaf then, as iPXE is under DOS: no logout when it is asked for. */
const DEAF = `
const [address, machine] = process.argv.slice(1);
const keys = ['InitiatorName=' + machine, 'TargetName=' + machine + '.0', 'SessionType=Normal', ''];
const text = Buffer.from(keys.join('\\0'));
const header = Buffer.alloc(48 + text.length + (-text.length & 3));
header.set([0x43, 0x87]);
header.writeUIntBE(text.length, 5, 3);
header.set([0x80, 0, 0, 0, 0, 1], 8);
header.set(text, 48);
const socket = require('net').connect(3260, address);
socket.write(header);
socket.on('data', (d) => { if (d[0] === 0x23) console.log('login', d.readUInt16BE(36)); });`;

/** Asks for a loader many times over and reads nothing. */
const FULL = `
const socket = require('net').connect(8080, process.argv[1]).pause();
socket.write('GET /loader/ipxe.efi HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'.repeat(20), () => console.log('asked'));
setInterval(() => {}, 1000);`;

bench('up: ends in time when neither a disk nor a file is let go of', async (b) => {
  const config = await configure(b, SERVER);
  const server = up(b, config);
  await server.waitFor(/^ready/m);
  await addPentium(b);
  await endsInTime(b, config, server, async () => {
    const who = [b.lab.ip, 'iqn.2026-11.org.polyboot:p4'];
    await b.lab.start(process.execPath, ['-e', DEAF, ...who]).waitFor(/login 0$/m);
    await b.lab.start(process.execPath, ['-e', FULL, b.lab.ip]).waitFor(/asked/);
  });
});

bench('up: what was set is there after kill -9', async (b) => {
  const config = await configure(b, SERVER);
  const first = up(b, config);
  await first.waitFor(/^ready/m);
  await cli(b, 'machine', 'add', 'p4', '--mac', '52:54:00:00:00:04');
  await first.stop('SIGKILL');
  const second = up(b, config);
  await second.waitFor(/^ready/m);
  const list = await cli(b, 'machine', 'list', '--json');
  assert.match(list, /"p4"/);
});

bench('up: a proxy everywhere: two cards in one subnet, a tunnel of one address', async (b) => {
  await b.lab.addBridge('wlan0', '10.77.0.2/24');
  await b.lab.addBridge('vpn0', '100.64.0.1/32');
  const server = up(b, await configure(b, '  []\n'));
  await server.waitFor(/^ready/m);
  for (const name of ['br0', 'wlan0', 'vpn0'])
    assert.match(server.output, new RegExp(`${name} .*proxyDHCP: hands out no addresses`));
  assert.equal((await server.stop()).code, 0);
});

bench('up: no DHCP server where a DHCP client of this host runs, unless told so', async (b) => {
  const bind = `require('node:dgram').createSocket('udp4').bind(68, () => console.log('bound'))`;
  await b.lab.start(process.execPath, ['-e', bind]).waitFor(/bound/);
  const { stderr } = await refused(b, await configure(b, SERVER), /:68 /);
  assert.match(stderr, /a DHCP client of this host runs on it/);
  const told = SERVER.replace(' }', ', allowOtherDhcpServer: true }');
  const server = up(b, await configure(b, told));
  await server.waitFor(/^ready/m);
  assert.match(server.output, /! a DHCP client runs on br0/);
});

bench('up: without a network there is nothing to be ready for', async (b) => {
  await b.lab.run('ip', ['addr', 'flush', 'dev', 'br0']);
  const { stderr } = await refused(b, await configure(b, '  []\n'));
  assert.match(stderr, /no network to serve: no interface has an IPv4 address/);
});

bench('up: every fault of a configuration at once, with its line', async (b) => {
  const config = await configure(b, '  - { interface: br0, dhcp: sever }\n', 'http: { port: 0 }\n');
  const { stderr } = await refused(b, config);
  assert.match(stderr, /polyboot\.yaml:3: http\.port/);
  assert.match(stderr, /polyboot\.yaml:5: networks\[0\]\.dhcp/);
});

bench('up: a token file that is not there is the person’s to make', async (b) => {
  const config = await configure(b, PROXY);
  const text = await readFile(config, 'utf8');
  const admin = `admin: { listen: "0.0.0.0:8081", tokenFile: ${b.folder}/token, socket:`;
  await writeFile(config, text.replace('admin: { socket:', admin));
  const { stderr } = await refused(b, config);
  assert.match(stderr, /token of the admin API cannot be read from .*token/);
  assert.match(stderr, /openssl rand/);
});

bench('up: no such interface, and a loader folder without loaders', async (b) => {
  const config = await configure(b, '  - { interface: eth9 }\n', 'loaders: [/proc/self/task]\n');
  const { stderr } = await refused(b, config);
  assert.match(stderr, /no network interface eth9/);
  assert.match(stderr, /br0/, 'names those that are there');
  assert.match(stderr, /apt-get install ipxe/);
});

bench('up: a port that is taken', async (b) => {
  const config = await configure(b, PROXY);
  const squatter = b.lab.start('socat', ['TCP-LISTEN:3260,fork', 'SYSTEM:cat']);
  while (!(await listeners(b)).includes(':3260')) assert.ok(squatter.running);
  const result = await up(b, config).finished();
  assert.equal(result.code, 1);
  assert.match(result.stderr, /3260/);
  await squatter.stop();
  assert.equal(await listeners(b), '');
});

bench('up: refuses to be a second DHCP server, and is a proxy beside the first', async (b) => {
  const house = await b.lab.addHost({ address: '10.77.0.2/24' });
  const dnsmasq = house.start('dnsmasq', [
    '-d',
    '--conf-file=/dev/null',
    '--port=0',
    '--interface=eth0',
    '--dhcp-range=10.77.0.50,10.77.0.60',
  ]);
  await dnsmasq.waitFor(/DHCP, IP range/);
  const { stderr } = await refused(b, await configure(b, SERVER));
  assert.match(stderr, /10\.77\.0\.2/, 'names the other server');
  assert.match(stderr, /dhcp: proxy/, 'and the way out');
  const proxy = up(b, await configure(b, PROXY));
  await proxy.waitFor(/^ready/m);
  const ended = await proxy.stop();
  assert.equal(ended.code, 0);
});

for (const networks of [PROXY, SERVER]) {
  const dhcp = networks === PROXY ? 'proxy' : 'server';
  bench(`up: a second server (${dhcp}) on the same state is refused, with the pid`, async (b) => {
    const config = await configure(b, networks);
    const first = up(b, config);
    await first.waitFor(/^ready/m);
    const result = await up(b, config).finished();
    assert.equal(result.code, 1);
    assert.match(result.stderr, /polyboot.*\(pid \d+\)|process \d+/i);
    assert.doesNotMatch(result.stderr, /switch the other server off/, 'it is no stranger');
  });
}

for (const networks of [PROXY, SERVER]) {
  const dhcp = networks === PROXY ? 'proxy' : 'server';
  bench(`doctor beside a server that runs (${dhcp}): we are not “another server”`, async (b) => {
    // The kernel's own choice of a source is the first address, and ours is another.
    await b.lab.run('ip', ['addr', 'add', '10.77.0.7/24', 'dev', 'br0']);
    const config = await configure(b, networks.replace('br0', 'br0, address: 10.77.0.7'));
    const server = up(b, config);
    await server.waitFor(/^ready/m);
    if (dhcp === 'proxy') await server.waitFor(/nobody gives addresses on br0/);
    assert.doesNotMatch(server.output, /another proxyDHCP/);
    const doctor = await b.lab
      .start(process.execPath, [MAIN, 'doctor', '--config', config], { env: envOf(b) })
      .finished();
    assert.equal(doctor.code, 0, doctor.stdout);
    assert.doesNotMatch(doctor.stdout, /answers (there|DHCP on br0 too)|another proxyDHCP/);
    const nobody = dhcp === 'server' ? /nobody else answers DHCP on br0/ : /nobody gives addresses/;
    assert.match(doctor.stdout, nobody);
    const { services } = JSON.parse(await cli(b, 'status', '--json')) as {
      services: { name: string; counters: Record<string, number> }[];
    };
    const counters = services.find((s) => s.name === 'dhcp br0')?.counters;
    assert.equal(counters?.['sent'], 0, 'no answer, and no machine in the timeline');
    assert.ok((counters['not-for-us'] ?? 0) > 0, 'though it was heard');
  });
}

bench('doctor: sees the networks, the loaders and who answers DHCP', async (b) => {
  const config = await configure(b, PROXY);
  const result = await b.lab
    .start(process.execPath, [MAIN, 'doctor', '--config', config, '--json'])
    .finished();
  assert.equal(result.code, 0, result.stderr + result.stdout);
  const findings = JSON.parse(result.stdout) as { level: string; what: string }[];
  const all = findings.map((f) => f.what).join('\n');
  assert.match(all, /br0: proxyDHCP at 10\.77\.0\.1/);
  assert.match(all, /nobody gives addresses on br0/);
  assert.match(all, /undionly\.kpxe/);
});
