/**
 * TFTP side by side with the peers, in network namespaces of its own: `node bench/tftp.ts [RUNS]`.
 * Needs root, tftpd-hpa, dnsmasq-base and atftpd (which conflicts with tftpd-hpa as a Debian
 * package: unpack it and name the binary in ATFTPD). Alternating runs, medians, ratios of speed:
 * above 1 we are faster.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab, type LabHost } from '../test/lab/netns.ts';
import { which } from '../test/lab/need.ts';
import type { Running } from '../test/lab/process.ts';

const MB = 1_000_000;
const SMALL_BYTES = MB;
const LARGE_BYTES = 30 * MB;

type Case = {
  readonly title: string;
  readonly peer: 'tftpd-hpa' | 'atftpd' | 'dnsmasq';
  readonly file: string;
  readonly sizeBytes: number;
  readonly windowBlocks: number;
  readonly clients: number;
  readonly goal: number;
};

const CASES: readonly Case[] = [
  {
    title: '30 MB, blksize 1428, windowsize 1, against tftpd-hpa',
    peer: 'tftpd-hpa',
    file: 'large',
    sizeBytes: LARGE_BYTES,
    windowBlocks: 1,
    clients: 1,
    goal: 1,
  },
  {
    title: '30 MB, blksize 1428, windowsize 16, against atftpd',
    peer: 'atftpd',
    file: 'large',
    sizeBytes: LARGE_BYTES,
    windowBlocks: 16,
    clients: 1,
    goal: 1.5,
  },
  {
    title: '500 clients × 1 MB at once, blksize 1428, against dnsmasq',
    peer: 'dnsmasq',
    file: 'small',
    sizeBytes: SMALL_BYTES,
    windowBlocks: 1,
    clients: 500,
    goal: 1,
  },
];

const folder = mkdtempSync(join(tmpdir(), 'tftp-bench-'));

function commandOf(server: string, ip: string): readonly string[] {
  switch (server) {
    case 'ours':
      return [process.execPath, join(import.meta.dirname, 'tftp-serve.ts'), ip, folder];
    case 'tftpd-hpa':
      return [which('in.tftpd') ?? 'in.tftpd', '-L', '-a', `${ip}:69`, '-u', 'root', '-s', folder];
    case 'atftpd':
      return [
        process.env['ATFTPD'] ?? which('atftpd') ?? '/tmp/atftpd/usr/sbin/atftpd',
        ...'--daemon --no-fork --user root.root --maxthread 1000'.split(' '),
        ...`--bind-address ${ip} ${folder}`.split(' '),
      ];
    default:
      return [
        'dnsmasq',
        ...'-k --conf-file=/dev/null --port=0 --enable-tftp --tftp-max=2000'.split(' '),
        ...`--tftp-root=${folder} --listen-address=${ip} --bind-interfaces`.split(' '),
        '--user=root',
      ];
  }
}

/** Waits until something is bound to the TFTP port of the lab. */
async function listening(lab: Lab, server: Running): Promise<void> {
  while (!(await lab.run('ss', ['-Hlun', 'sport', '=', ':69'])).includes(':69')) {
    if (!server.running) throw new Error(`it does not start:\n${server.output}`);
  }
}

/** One small transfer first: servers run for months, and a thread of ours begins with the first. */
async function warmUp(lab: Lab, host: LabHost): Promise<void> {
  const load = { address: lab.ip, name: 'small', sizeBytes: SMALL_BYTES, blockBytes: 1428 };
  const script = join(import.meta.dirname, 'tftp-load.ts');
  const one = JSON.stringify({ ...load, windowBlocks: 1, clients: 1 });
  await host.run(process.execPath, [script, one]);
}

type Result = { durationMs: number; failures: number; repeats: number };

async function measure(lab: Lab, host: LabHost, server: string, c: Case): Promise<Result> {
  const [command = '', ...args] = commandOf(server, lab.ip);
  const running = lab.start(command, args);
  try {
    await listening(lab, running);
    await warmUp(lab, host);
    const { file: name, sizeBytes, windowBlocks } = c;
    // One generator is slower than two server threads: a crowd gets two, whoever serves it.
    const processes = c.clients > 1 ? 2 : 1;
    const clients = c.clients / processes;
    const load = { address: lab.ip, name, sizeBytes, windowBlocks, clients, blockBytes: 1428 };
    const script = join(import.meta.dirname, 'tftp-load.ts');
    const one = async (): Promise<Result> =>
      JSON.parse(await host.run(process.execPath, [script, JSON.stringify(load)])) as Result;
    const parts = await Promise.all(Array.from({ length: processes }, one));
    return {
      durationMs: Math.max(...parts.map((p) => p.durationMs)),
      failures: parts.reduce((n, p) => n + p.failures, 0),
      repeats: parts.reduce((n, p) => n + p.repeats, 0),
    };
  } finally {
    await running.stop();
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function show(name: string, results: readonly Result[], c: Case): number {
  const ms = median(results.map((r) => r.durationMs));
  const failures = results.reduce((n, r) => n + r.failures, 0);
  const repeats = results.reduce((n, r) => n + r.repeats, 0);
  const rate = (c.clients * c.sizeBytes) / MB / (ms / 1000);
  process.stdout.write(
    `  ${name.padEnd(10)} ${ms.toFixed(0).padStart(6)} ms  ${rate.toFixed(1).padStart(7)} MB/s` +
      `  failures ${failures}, client time-outs ${repeats}\n`,
  );
  return ms;
}

const runs = Number(process.argv[2] ?? 5);
const only = process.argv[3];
const lab = await Lab.create();
try {
  writeFileSync(join(folder, 'large'), randomBytes(LARGE_BYTES));
  writeFileSync(join(folder, 'small'), randomBytes(SMALL_BYTES));
  const host = await lab.addHost({ address: '10.77.0.2/24' });
  await host.run('ping', ['-c1', '-W5', lab.ip]);
  for (const c of CASES) {
    if (only !== undefined && only !== c.peer) continue;
    process.stdout.write(`${c.title}\n`);
    const ours: Result[] = [];
    const theirs: Result[] = [];
    for (let run = 0; run < runs; run++) {
      ours.push(await measure(lab, host, 'ours', c));
      theirs.push(await measure(lab, host, c.peer, c));
    }
    const ratio = show(c.peer, theirs, c) / show('polyboot', ours, c);
    const verdict = ratio >= c.goal ? 'met' : 'missed';
    process.stdout.write(`  ratio ${ratio.toFixed(2)} (goal ${c.goal}: ${verdict})\n`);
  }
} finally {
  await lab.close();
  rmSync(folder, { recursive: true });
}
