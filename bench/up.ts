import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../test/lab/netns.ts';
import { run, type Running } from '../test/lab/process.ts';

/**
 * What `polyboot up` costs at rest: time from the command to "ready" (as a proxy and as a DHCP
 * server, which first asks who else answers), resident memory idle, and with sessions that work.
 * Needs root and libiscsi-bin. `node bench/up.ts [--runs 5] [--sessions 16]`.
 */
const LAUNCHER = join(import.meta.dirname, '../polyboot');
const MAIN = join(import.meta.dirname, '../src/main.ts');

function flag(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const runs = flag('runs', 5);
const sessions = flag('sessions', 16);
const median = (all: readonly number[]): number =>
  all.toSorted((a, b) => a - b)[all.length >> 1] ?? 0;
const folder = await mkdtemp(join(tmpdir(), 'pb-bench-up-'));
const lab = await Lab.create();

async function start(network: string): Promise<{ server: Running; startMs: number }> {
  const config = join(folder, 'polyboot.yaml');
  await writeFile(
    config,
    `state: ${folder}/state\nadmin: { socket: ${folder}/admin.sock }\nnetworks: [${network}]\n`,
  );
  const beganMs = performance.now();
  const server = lab.start(LAUNCHER, ['up', '--config', config]);
  await server.waitFor(/^ready/m);
  return { server, startMs: performance.now() - beganMs };
}

/** Resident and peak memory in MiB. The launcher has replaced itself: the pid is the server's. */
function memoryOf(pid: number): { rss: number; peak: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number =>
    Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0);
  return { rss: Math.round(field('VmRSS') / 1024), peak: Math.round(field('VmHWM') / 1024) };
}

async function startTimes(network: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const { server, startMs } = await start(network);
    times.push(startMs);
    await server.stop();
  }
  return median(times);
}

async function loaded(): Promise<string> {
  const { server } = await start('{ interface: br0 }');
  const env = { ...process.env, POLYBOOT_SOCKET: join(folder, 'admin.sock') };
  const cli = (...args: string[]): Promise<string> =>
    run(process.execPath, [MAIN, ...args], { env });
  const idle = memoryOf(server.pid);
  const loads: Running[] = [];
  for (let n = 0; n < sessions; n++) {
    await cli('image', 'create', `disk${n}`, '--preset', 'dos', '--size', '64M');
    const mac = `52:54:00:00:01:${n.toString(16).padStart(2, '0')}`;
    await cli('machine', 'add', `m${n}`, '--mac', mac, '--drive', `disk${n}`);
    const url = `iscsi://${lab.ip}/iqn.2026-11.org.polyboot:m${n}.0/0`;
    const args = [
      '-i',
      `iqn.2026-11.org.polyboot:m${n}`,
      '-m',
      '4',
      '-b',
      '128',
      '-t',
      '20',
      '-r',
      url,
    ];
    loads.push(lab.start('iscsi-perf', args));
  }
  for (const load of loads) await load.waitFor(/iops/);
  const busy = memoryOf(server.pid);
  for (const load of loads) await load.stop('SIGINT');
  await server.stop();
  return (
    `resident idle: ${idle.rss} MiB\n` +
    `resident with ${sessions} sessions reading 64 KiB at depth 4: ${busy.rss} MiB (peak ${busy.peak} MiB)\n`
  );
}

try {
  const proxy = await startTimes('{ interface: br0 }');
  const server = await startTimes('{ interface: br0, dhcp: server, pool: 10.77.0.100-200 }');
  process.stdout.write(
    `command to ready, proxy: ${(proxy / 1000).toFixed(2)} s\n` +
      `command to ready, DHCP server: ${(server / 1000).toFixed(2)} s\n${await loaded()}`,
  );
} finally {
  await lab.close();
  await rm(folder, { recursive: true, force: true });
}
