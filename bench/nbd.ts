/**
 * Our NBD client beside QEMU's, on the same server in turns:
 *
 *   node bench/nbd.ts [--rounds 3] [--servers nbdkit,qemu-nbd]
 *
 * `qemu-img bench` is the peer: consecutive reads or writes at a queue depth. The servers are
 * nbdkit's memory plugin and qemu-nbd on a file in memory, by a Unix socket. Prints operations per
 * second (medians) and the ratio ours/QEMU's.
 */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openNbd } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { Running } from '../test/lab/process.ts';

const KIB = 1024;
const DISK_BYTES = 256 * KIB * KIB;

type Row = {
  readonly operation: 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
  readonly count: number;
};

const ROWS: readonly Row[] = [
  { operation: 'read', blockBytes: 4 * KIB, depth: 32, count: 60_000 },
  { operation: 'read', blockBytes: 4 * KIB, depth: 1, count: 8000 },
  { operation: 'write', blockBytes: 4 * KIB, depth: 32, count: 60_000 },
  { operation: 'read', blockBytes: 64 * KIB, depth: 8, count: 15_000 },
  { operation: 'write', blockBytes: 64 * KIB, depth: 8, count: 15_000 },
  { operation: 'read', blockBytes: KIB * KIB, depth: 4, count: 1500 },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    servers: { type: 'string', default: 'nbdkit,qemu-nbd' },
    job: { type: 'string' },
  },
});

/** The child: our client does one row and says how long it took. */
async function work(url: string, row: Row): Promise<void> {
  const device = await openNbd(url, {});
  const startMs = performance.now();
  await repeat(device, row);
  const seconds = (performance.now() - startMs) / 1000;
  process.stdout.write(`${seconds}\n`);
  device.close(() => undefined);
}

function repeat(device: BlockDevice, row: Row): Promise<void> {
  const { operation, blockBytes, depth, count } = row;
  return new Promise((resolve, reject) => {
    let started = 0;
    let ended = 0;
    const next = (memory: Buffer): void => {
      if (started === count) return;
      const offset = (started * blockBytes) % DISK_BYTES;
      started += 1;
      const done = (error: Error | null): void => {
        if (error !== null) reject(error);
        ended += 1;
        if (ended === count) resolve();
        else next(memory);
      };
      if (operation === 'read') device.read(offset, memory, 0, blockBytes, done);
      else device.write(offset, memory, 0, blockBytes, done);
    };
    for (let i = 0; i < depth; i++) next(Buffer.alloc(blockBytes, 0x5a));
  });
}

async function ours(url: string, row: Row): Promise<number> {
  const script = new URL(import.meta.url).pathname;
  const child = new Running(process.execPath, [script, '--job', JSON.stringify({ url, row })]);
  const { code, stdout, stderr } = await child.finished();
  if (code !== 0) throw new Error(stderr);
  return row.count / Number(stdout);
}

async function theirs(url: string, row: Row): Promise<number> {
  const { blockBytes, depth, count } = row;
  const write = row.operation === 'write' ? ['-w'] : [];
  const numbers = ['-c', String(count), '-d', String(depth), '-s', String(blockBytes)];
  const child = new Running('qemu-img', ['bench', '-f', 'raw', ...write, ...numbers, url]);
  const { code, stdout, stderr } = await child.finished();
  const seconds = /completed in ([\d.]+) seconds/.exec(stdout)?.[1];
  if (code !== 0 || seconds === undefined) throw new Error(stdout + stderr);
  return count / Number(seconds);
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

/** Waits until the server takes a connection. */
async function whenUp(server: Running, url: string): Promise<void> {
  for (;;) {
    try {
      const device = await openNbd(url, {});
      device.close(() => undefined);
      return;
    } catch (e) {
      if (!server.running) throw new Error(server.output, { cause: e });
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

async function race(name: string, server: Running, url: string): Promise<void> {
  try {
    await whenUp(server, url);
    for (const row of ROWS) {
      const rates: number[][] = [[], []];
      for (let round = 0; round < Number(values.rounds); round++) {
        rates[0]?.push(await ours(url, row));
        rates[1]?.push(await theirs(url, row));
      }
      const [us = 0, them = 0] = rates.map(median);
      const what = `${row.blockBytes / KIB} KiB ${row.operation} QD${row.depth}`;
      process.stdout.write(
        `${name.padEnd(9)} ${what.padEnd(20)} ours ${Math.round(us)}/s` +
          ` · qemu ${Math.round(them)}/s · ratio ${(us / them).toFixed(2)}\n`,
      );
    }
  } finally {
    await server.stop();
  }
}

async function main(): Promise<void> {
  const folder = await mkdtemp('/dev/shm/polyboot-nbd-bench-');
  const socket = join(folder, 'nbd.sock');
  const url = `nbd+unix:///?socket=${socket}`;
  try {
    const wanted = values.servers.split(',');
    if (wanted.includes('nbdkit')) {
      const args = ['--foreground', '--unix', socket, 'memory', `size=${DISK_BYTES}`];
      await race('nbdkit', new Running('nbdkit', args), url);
      await rm(socket, { force: true });
    }
    if (!wanted.includes('qemu-nbd')) return;
    const disk = join(folder, 'disk');
    await writeFile(disk, '');
    await truncate(disk, DISK_BYTES);
    const args = ['--persistent', '--shared=8', '-k', socket, '-f', 'raw', disk];
    await race('qemu-nbd', new Running('qemu-nbd', args), url);
  } finally {
    await rm(folder, { recursive: true });
  }
}

if (values.job === undefined) {
  await main();
} else {
  const job = JSON.parse(values.job) as { url: string; row: Row };
  await work(job.url, job.row);
}
