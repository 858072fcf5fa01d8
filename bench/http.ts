import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { which } from '../test/lab/need.ts';
import { Running, run } from '../test/lab/process.ts';

/**
 * Our boot listener against nginx (sendfile on, access log off), on loopback, driven by wrk.
 * Rounds alternate between the servers, so that a busy host slows both; the figure is the median of
 * the rounds' ratios. Needs nginx and wrk (apt-get install nginx-light wrk).
 *
 *     node bench/http.ts [rounds = 5] [seconds = 2]
 *
 * `nginx-1` has one worker process as we have one thread; `nginx-auto` one per processor.
 */
const rounds = Number(process.argv[2] ?? '5');
const seconds = Number(process.argv[3] ?? '2');
const CONNECTIONS = 50;
const INITRD_BYTES = 30 * 1024 * 1024;
const RANGE_BYTES = 64 * 1024;

const LOADS = {
  '64 KiB ranges': { path: '/initrd', ranges: true },
  '30 MB initrd': { path: '/initrd', ranges: false },
  '2 KiB script': { path: '/script', ranges: false },
} as const;
type Load = keyof typeof LOADS;

type Peer = { readonly name: string; readonly port: number; start(): Running };

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

for (const tool of ['nginx', 'wrk']) {
  if (which(tool) === undefined) {
    say(`${tool} is missing: apt-get install nginx-light wrk`);
    process.exitCode = 1;
  }
}
if (process.exitCode !== 1) await main();

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-bench-'));
  try {
    await writeFile(join(folder, 'initrd'), randomBytes(INITRD_BYTES));
    await writeFile(join(folder, 'script'), randomBytes(1024).toString('hex'));
    await writeFile(join(folder, 'ranges.lua'), rangesScript());
    const peers = [
      await ours(folder),
      await nginx(folder, 'nginx-1', '1'),
      await nginx(folder, 'nginx-auto', 'auto'),
    ];
    for (const load of Object.keys(LOADS) as Load[]) await race(folder, load, peers);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function race(folder: string, load: Load, peers: readonly Peer[]): Promise<void> {
  const rates = new Map(peers.map((p) => [p.name, [] as number[]]));
  for (let round = 0; round < rounds; round++) {
    // Every second round backwards: what drifts hits each server alike.
    for (const peer of round % 2 === 0 ? peers : peers.toReversed()) {
      const server = peer.start();
      await listening(peer.port, server);
      rates.get(peer.name)?.push(await drive(folder, load, peer.port));
      await server.stop();
    }
  }
  const mine = rates.get('ours') ?? [];
  say(`${load}, ${CONNECTIONS} connections, median of ${rounds} rounds of ${seconds} s:`);
  for (const [name, values] of rates) {
    const ratio = median(values.map((v, n) => (mine[n] ?? 0) / v));
    const against = name === 'ours' ? '' : `   ours/${name} ${ratio.toFixed(2)}`;
    const bytes =
      load === '30 MB initrd' ? INITRD_BYTES : load === '2 KiB script' ? 0 : RANGE_BYTES;
    const speed = bytes === 0 ? '' : ` ${((median(values) * bytes) / 1e9).toFixed(2)} GB/s`;
    say(`  ${name.padEnd(10)} ${median(values).toFixed(0).padStart(7)} req/s${speed}${against}`);
  }
}

/** Requests per second. */
async function drive(folder: string, load: Load, port: number): Promise<number> {
  const { path, ranges } = LOADS[load];
  const script = ranges ? ['-s', join(folder, 'ranges.lua')] : [];
  const url = `http://127.0.0.1:${port}${path}`;
  const args = ['-t2', `-c${CONNECTIONS}`, `-d${seconds}s`, ...script, url];
  const output = await run('wrk', args);
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(output)?.[1];
  if (rate === undefined || /Non-2xx/.test(output)) throw new TypeError(output);
  return Number(rate);
}

async function ours(folder: string): Promise<Peer> {
  const port = await freePort();
  const program = join(import.meta.dirname, 'http-serve.ts');
  return {
    name: 'ours',
    port,
    start: () => new Running(process.execPath, [program, folder, String(port)]),
  };
}

async function nginx(folder: string, name: string, workers: string): Promise<Peer> {
  const port = await freePort();
  const config = join(folder, `${name}.conf`);
  await writeFile(
    config,
    `worker_processes ${workers}; daemon off; pid ${folder}/${name}.pid;
     error_log ${folder}/${name}.err; events { worker_connections 4096; }
     http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
       client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
       uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
       server { listen 127.0.0.1:${port} backlog=1024; root ${folder}; } }\n`,
  );
  const program = which('nginx') ?? 'nginx';
  // As root its workers become "nobody", who cannot read a private folder.
  const user = process.getuid?.() === 0 ? ['-g', 'user root;'] : [];
  return { name, port, start: () => new Running(program, ['-c', config, ...user]) };
}

/** Waits until the port answers: a connection that the kernel completes. */
async function listening(port: number, server: Running): Promise<void> {
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/script`).catch(() => undefined);
    if (answer?.ok === true) {
      await answer.text();
      return;
    }
    if (!server.running) throw new TypeError(`${server.name} ended: ${server.output}`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function rangesScript(): string {
  return `request = function()
  local at = math.random(0, ${INITRD_BYTES / RANGE_BYTES - 1}) * ${RANGE_BYTES}
  return wrk.format("GET", nil, {["Range"] = "bytes=" .. at .. "-" .. (at + ${RANGE_BYTES - 1})})
end\n`;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
