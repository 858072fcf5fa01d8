/**
 * qcow2 in our target, in the same run and taking turns:
 *
 *   node bench/qcow2.ts [--rounds 3] [--seconds 2] [--rows REGEX] [--folder /dev/shm]
 *
 * Overlays on a cached base against a raw file, both in our target; and a full image against
 * qemu-nbd and qemu-storage-daemon on the same image, and tgt on a raw file (tgt has no qcow2).
 * QEMU exports no iSCSI: it is asked by NBD over a Unix socket, which is less work than iSCSI over
 * TCP. Prints medians per second and ratios; exit code 1 when a goal is missed. `--memory` says
 * instead what 200 overlays on one base take.
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createQcow2, openQcow2, openRaw } from '#block/mod.ts';
import { Running, run } from '../test/lab/process.ts';
import { RANDOM_READS, loadResult, startLoad } from './iscsi/load-job.ts';
import type { Endpoint, Workload } from './iscsi/load-job.ts';
import { startTgt } from './iscsi/tgt.ts';
import type { NbdJob } from './qcow2/nbd-load.ts';

const MIB = 1024 * 1024;
const FULL_BYTES = 256 * MIB;
/** So large that random writes of a few seconds hardly ever meet a block again. */
const WIDE_BYTES = 16 * 1024 * MIB;
const TGT_PORT = 13_991;
const OVERLAYS = 200;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    rows: { type: 'string', default: '' },
    folder: { type: 'string', default: '/dev/shm' },
    memory: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);

/** Something that can be loaded for a while; made anew for each round where it wears out. */
type Contender = { readonly name: string; measure(work: Workload): Promise<number> };
type Race = {
  readonly name: string;
  readonly workload: Workload;
  readonly contenders: readonly Contender[];
  readonly goal: number;
};

const work = (operation: 'read' | 'write'): Workload => ({ ...RANDOM_READS, operation });

function path(name: string): string {
  return join(values.folder, `polyboot-qcow2-${process.pid}-${name}`);
}

function fill(file: string, bytes: number): void {
  const fd = openSync(file, 'w');
  const piece = Buffer.alloc(4 * MIB, 0x5a);
  for (let at = 0; at < bytes; at += piece.length) writeSync(fd, piece, 0, piece.length, at);
  closeSync(fd);
}

/** Operations per second of a load process. */
async function measured(load: Running): Promise<number> {
  const result = await loadResult(load);
  // A session's first command is told that the nexus is new.
  if (result.failures > 1) throw new Error(`${result.failures} commands failed`);
  return result.operations / result.seconds;
}

async function endpointOf(server: Running): Promise<Endpoint> {
  const [, port = '', iqn = ''] = await server.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(.*)\/0\n/);
  return { address: '127.0.0.1', port: Number(port), iqn, lun: 0 };
}

/** Ours: a target of its own for each measurement, so that no one is warmer than another. */
function ours(
  name: string,
  spanBytes: number,
  prepare: () => Promise<readonly string[]>,
): Contender {
  return {
    name,
    measure: async (workload) => {
      const script = new URL('qcow2/serve.ts', import.meta.url).pathname;
      const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
      const server = new Running(process.execPath, [script, ...(await prepare())], { env });
      try {
        const endpoint = await endpointOf(server);
        const load = startLoad({ endpoint, workload, sessions: 1, spanBytes, seconds });
        return await measured(load);
      } finally {
        await server.stop();
      }
    },
  };
}

function nbd(name: string, spanBytes: number, command: string, args: string[]): Contender {
  return {
    name,
    measure: async (workload) => {
      const socket = path('nbd.sock');
      rmSync(socket, { force: true });
      const server = new Running(
        command,
        args.map((a) => a.replace('SOCKET', socket)),
      );
      try {
        await untilThere(socket);
        const script = new URL('qcow2/nbd-load.ts', import.meta.url).pathname;
        const job: NbdJob = { socket, name: 'disk', workload, spanBytes, seconds };
        return await measured(new Running(process.execPath, [script, JSON.stringify(job)]));
      } finally {
        await server.stop();
      }
    },
  };
}

async function untilThere(socket: string): Promise<void> {
  const waiting = 'for i in $(seq 200); do [ -S "$0" ] && exit 0; sleep 0.02; done; exit 1';
  await run('sh', ['-c', waiting, socket]);
}

async function newOverlay(base: string, sizeBytes: number): Promise<string> {
  const file = path('overlay.qcow2');
  rmSync(file, { force: true });
  await createQcow2(file, { sizeBytes, backing: { file: base, format: 'raw' } });
  return file;
}

async function written(file: string, backing: string | null, bytes: number): Promise<void> {
  const below = backing === null ? null : await openRaw(backing, { readOnly: true });
  const device = await openQcow2(file, { backing: below, ownsBacking: true });
  const piece = Buffer.alloc(MIB, 0x3c);
  for (let at = 0; at < bytes; at += piece.length) {
    await new Promise<void>((resolve, reject) => {
      device.write(at, piece, 0, piece.length, (e) => (e === null ? resolve() : reject(e)));
    });
  }
  await new Promise<void>((resolve) => {
    device.close(() => {
      resolve();
    });
  });
}

/** Overlays against a raw file, both in our target. */
async function overlayRaces(base: string): Promise<Race[]> {
  const wide = path('wide.raw');
  const emptied = async (): Promise<void> => {
    rmSync(wide, { force: true });
    await run('truncate', ['-s', String(WIDE_BYTES), wide]);
  };
  const raw = ours('raw', FULL_BYTES, () => Promise.resolve(['raw', base]));
  const reads = ours('overlay', FULL_BYTES, async () => [
    'qcow2',
    await newOverlay(base, FULL_BYTES),
    base,
  ]);
  const steady = ours('overlay', FULL_BYTES, async () => {
    const file = await newOverlay(base, FULL_BYTES);
    await written(file, base, FULL_BYTES);
    return ['qcow2', file, base];
  });
  const freshRaw = ours('raw', WIDE_BYTES, async () => {
    await emptied();
    return ['raw', wide];
  });
  const fresh = ours('overlay', WIDE_BYTES, async () => {
    await emptied();
    return ['qcow2', await newOverlay(wide, WIDE_BYTES), wide];
  });
  const [read, write] = [work('read'), work('write')];
  return [
    { name: 'overlay, read from base', workload: read, contenders: [reads, raw], goal: 0.95 },
    { name: 'overlay, first write', workload: write, contenders: [fresh, freshRaw], goal: 0.5 },
    { name: 'overlay, steady write', workload: write, contenders: [steady, raw], goal: 0.9 },
  ];
}

/** A full image against QEMU's servers on the same image, and tgt on a raw file. */
async function imageRaces(base: string, stops: (() => Promise<void>)[]): Promise<Race[]> {
  const full = path('full.qcow2');
  await createQcow2(full, { sizeBytes: FULL_BYTES });
  await written(full, null, FULL_BYTES);
  const image = ours('qcow2', FULL_BYTES, () => Promise.resolve(['qcow2', full]));
  const plain = ['-f', 'qcow2', '-k', 'SOCKET', '-x', 'disk', '-t', '--cache=writeback', full];
  const qemuNbd = nbd('qemu-nbd', FULL_BYTES, 'qemu-nbd', plain);
  const daemon = nbd('qemu-storage-daemon', FULL_BYTES, 'qemu-storage-daemon', [
    '--blockdev',
    `driver=file,node-name=f,filename=${full}`,
    '--blockdev',
    'driver=qcow2,node-name=q,file=f',
    '--nbd-server',
    'addr.type=unix,addr.path=SOCKET',
    '--export',
    'type=nbd,id=e,node-name=q,name=disk,writable=on',
  ]);
  const tgt = await startTgt(base, TGT_PORT);
  stops.push(() => tgt.stop());
  const endpoint = tgt.targets.tuned;
  const tgtRaw: Contender = {
    name: 'tgt on raw',
    measure: (workload) => {
      const job = { endpoint, workload, sessions: 1, spanBytes: FULL_BYTES, seconds };
      return measured(startLoad(job));
    },
  };
  const contenders = [image, qemuNbd, daemon, tgtRaw];
  return [
    { name: 'image, read', workload: work('read'), contenders, goal: 2 },
    { name: 'image, write', workload: work('write'), contenders, goal: 2 },
  ];
}

async function races(stops: (() => Promise<void>)[]): Promise<Race[]> {
  const base = path('base.raw');
  fill(base, FULL_BYTES);
  return [...(await overlayRaces(base)), ...(await imageRaces(base, stops))];
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** What many open overlays take: resident memory before, after, and after each was written to. */
async function memory(): Promise<number> {
  const base = path('base.raw');
  await run('truncate', ['-s', String(10 * 1024 * MIB), base]);
  const below = await openRaw(base, { readOnly: true });
  const before = process.memoryUsage().rss;
  const block = Buffer.alloc(4096, 1);
  const devices = [];
  const files: string[] = [];
  for (let n = 0; n < OVERLAYS; n++) {
    const file = path(`${n}.qcow2`);
    files.push(file);
    await createQcow2(file, { sizeBytes: below.sizeBytes, backing: { file: base, format: 'raw' } });
    devices.push(await openQcow2(file, { backing: below }));
  }
  const opened = process.memoryUsage().rss;
  for (const device of devices) {
    for (let n = 0; n < 200; n++) {
      await new Promise<void>((resolve, reject) => {
        const at = ((n * 7919 * MIB) % device.sizeBytes) + n * 4096;
        device.write(at, block, 0, 4096, (e) => (e === null ? resolve() : reject(e)));
      });
    }
  }
  const used = process.memoryUsage().rss;
  const mib = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;
  process.stdout.write(
    `${OVERLAYS} overlays of 10 GiB: ${mib(before)} before, ${mib(opened)} open, ` +
      `${mib(used)} after 200 scattered first writes each\n`,
  );
  for (const device of devices) {
    await new Promise<void>((resolve) => {
      device.close(() => {
        resolve();
      });
    });
  }
  for (const file of [base, ...files]) rmSync(file);
  return used <= 400 * MIB ? 0 : 1;
}

async function main(): Promise<number> {
  if (values.memory) return memory();
  const stops: (() => Promise<void>)[] = [];
  let missed = 0;
  try {
    const wanted = new RegExp(values.rows);
    for (const race of await races(stops)) {
      if (!wanted.test(race.name)) continue;
      const rates = race.contenders.map((): number[] => []);
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const [n, c] of race.contenders.entries())
          rates[n]?.push(await c.measure(race.workload));
      }
      const medians = rates.map(median);
      const ratio = (medians[0] ?? 0) / Math.max(...medians.slice(1));
      const cells = race.contenders.map((c, n) => `${c.name} ${Math.round(medians[n] ?? 0)}/s`);
      const verdict = ratio >= race.goal ? '' : ', missed';
      process.stdout.write(
        `${race.name.padEnd(28)} ${cells.join(' · ')} · ratio ${ratio.toFixed(2)} ` +
          `(goal ${race.goal}${verdict})\n`,
      );
      if (ratio < race.goal) missed += 1;
    }
  } finally {
    for (const stop of stops) await stop();
    await run('sh', ['-c', `rm -f ${path('')}*`]);
  }
  return missed === 0 ? 0 : 1;
}

process.exitCode = await main();
