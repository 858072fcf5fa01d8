/**
 * What the hot-block cache brings, through our own target, with and without it in turns:
 *
 *   node bench/cache.ts [--rounds 3] [--seconds 1] [--kinds memory,disk,nbd,cold]
 *
 * 4 KiB random reads at queue depth 32 from 1, 4 and 16 sessions on 96 MiB that are in the page
 * cache: a file in memory (tmpfs), a file on the disk's file system, and the same file behind
 * qemu-nbd. Prints operations per second (medians) and the ratio cached/plain. `cold`: a boot
 * storm, 100 readers of the same 100 MB of a disk that takes 2 ms for each read, without a target.
 */
import { randomFillSync } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/mod.ts';
import {
  CachedDevice,
  CounterDevice,
  DelayDevice,
  HotBlocks,
  MemoryDevice,
  openNbd,
  openRaw,
} from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { Running } from '../test/lab/process.ts';
import { RANDOM_READS, runLoads } from './iscsi/load-job.ts';

const FILE_BYTES = 96 * 1024 * 1024;
const WARM_BYTES = 64 * 1024;
const IQN = 'iqn.2026-11.org.polyboot:cache';
const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'CACHE',
  revision: '1',
  serial: 'cache-0',
  naa: '3000000000000003',
};
const KINDS = ['memory', 'disk', 'nbd', 'cold'] as const;
const STORM_BYTES = 100 * 1024 * 1024;
const STORM_READERS = 100;
const STORM_READ_MS = 2;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1' },
    kinds: { type: 'string', default: KINDS.join(',') },
    serve: { type: 'string' },
    cached: { type: 'boolean', default: false },
  },
});

/** Reads all of a device once, as its readers would. */
async function warm(device: BlockDevice): Promise<void> {
  const into = Buffer.alloc(WARM_BYTES);
  for (let at = 0; at < device.sizeBytes; at += WARM_BYTES) {
    if (device.tryRead(at, into, 0, WARM_BYTES)) continue;
    await new Promise<void>((resolve) => {
      device.read(at, into, 0, WARM_BYTES, () => {
        resolve();
      });
    });
  }
}

/** The child: a bare target on a file or an NBD export. */
async function serve(source: string, cached: boolean): Promise<void> {
  const plain = source.startsWith('nbd')
    ? await openNbd(source, { readOnly: true })
    : await openRaw(source, { readOnly: true });
  const device = cached ? new CachedDevice(plain, new HotBlocks()) : plain;
  await warm(device);
  const units = new LogicalUnitSet({ targetName: IQN });
  units.add(0, new LogicalUnit({ device, identity: IDENTITY }));
  const server = new TargetServer();
  server.addExport({ iqn: IQN, access: 'any', takeover: false }, units);
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  process.stdout.write(`port ${portal?.port}\n`);
}

async function makeFile(path: string): Promise<void> {
  const file = await open(path, 'w');
  const piece = Buffer.alloc(16 * 1024 * 1024);
  for (let at = 0; at < FILE_BYTES; at += piece.length) {
    randomFillSync(piece);
    await file.write(piece, 0, piece.length, at);
  }
  await file.sync();
  await file.close();
}

async function load(port: number, sessions: number, seconds: number): Promise<number> {
  const endpoint = { address: '127.0.0.1', port, iqn: IQN, lun: 0 };
  const job = { endpoint, workload: RANDOM_READS, sessions, spanBytes: FILE_BYTES, seconds };
  return (await runLoads(job, Math.min(2, sessions))).perSecond;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

/** How long 100 readers take for the same bytes, and what they cost the disk. */
async function storm(cached: boolean): Promise<string> {
  const memory = new MemoryDevice({ sizeBytes: STORM_BYTES, readOnly: true });
  const slow = new DelayDevice(memory, systemClock, { readMs: STORM_READ_MS });
  const below = new CounterDevice(slow);
  const device = cached ? new CachedDevice(below, new HotBlocks()) : below;
  const startMs = performance.now();
  // The clock's timers do not keep a process alive.
  const awake = setInterval(() => undefined, 1000);
  await Promise.all(Array.from({ length: STORM_READERS }, () => warm(device)));
  clearInterval(awake);
  const seconds = (performance.now() - startMs) / 1000;
  const megabytes = Math.round(below.readBytes / 1024 / 1024);
  return `${seconds.toFixed(1)} s, ${megabytes} MiB read from the disk`;
}

/** Plain and cached targets on one source, in turns. */
async function race(kind: string, source: string): Promise<void> {
  const script = new URL(import.meta.url).pathname;
  const servers = [[], ['--cached']].map(
    (extra) =>
      new Running(process.execPath, [script, '--serve', source, ...extra], {
        env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
      }),
  );
  try {
    const ports = await Promise.all(
      servers.map(async (s) => Number((await s.waitFor(/port (\d+)/))[1])),
    );
    for (const sessions of [1, 4, 16]) {
      const rates: number[][] = [[], []];
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const [i, port] of ports.entries()) {
          rates[i]?.push(await load(port, sessions, Number(values.seconds)));
        }
      }
      const [plain = 0, cached = 0] = rates.map(median);
      process.stdout.write(
        `${kind.padEnd(7)} ×${String(sessions).padEnd(3)} plain ${Math.round(plain)}/s` +
          ` · cached ${Math.round(cached)}/s · ratio ${(cached / plain).toFixed(2)}\n`,
      );
    }
  } finally {
    await Promise.all(servers.map((s) => s.stop()));
  }
}

async function main(): Promise<void> {
  const folders = {
    memory: await mkdtemp('/dev/shm/polyboot-cache-bench-'),
    disk: await mkdtemp(join(tmpdir(), 'polyboot-cache-bench-')),
  };
  const wanted = values.kinds.split(',');
  try {
    const memory = join(folders.memory, 'disk');
    const disk = join(folders.disk, 'disk');
    await makeFile(memory);
    await makeFile(disk);
    if (wanted.includes('memory')) await race('memory', memory);
    if (wanted.includes('disk')) await race('disk', disk);
    if (wanted.includes('cold')) {
      const [plain, cached] = [await storm(false), await storm(true)];
      process.stdout.write(`cold    ×${STORM_READERS} plain ${plain} · cached ${cached}\n`);
    }
    if (!wanted.includes('nbd')) return;
    const socket = join(folders.disk, 'nbd.sock');
    const nbd = ['-r', '-t', '-e', '8', '-x', 'disk', '-k', socket, '-f', 'raw', memory];
    // It listens before it forks into the background.
    const server = new Running('qemu-nbd', [...nbd, '--fork', '--pid-file', `${socket}.pid`]);
    await server.finished();
    try {
      await race('nbd', `nbd+unix:///disk?socket=${socket}`);
    } finally {
      const pid = await open(`${socket}.pid`);
      process.kill(Number((await pid.readFile('utf8')).trim()));
      await pid.close();
    }
  } finally {
    await rm(folders.memory, { recursive: true });
    await rm(folders.disk, { recursive: true });
  }
}

if (values.serve === undefined) await main();
else await serve(values.serve, values.cached);
