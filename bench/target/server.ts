/**
 * A target in a process of its own that knows how late its event loop is. Forked by the benches:
 *
 *   fork('bench/target/server.ts', [JSON.stringify({ disks: [{ path }, { path, readMs: 5 }] })])
 *
 * With `threads` the disks are served by the data plane of `polyboot up`, spread over its threads;
 * the event loop that is watched is then the main thread's, which answers DHCP.
 *
 * Sends `{ port, iqns }` when ready; answers 'reset' with 'reset' and 'look' with a `Look`.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { silentLog, systemClock } from '#base/mod.ts';
import { DelayDevice, openRaw } from '#block/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { DataPlane, freePortals } from '../../src/app/data-plane.ts';

export type ServedDisk = {
  readonly path: string;
  /** A slow disk: nothing is resident, and each read takes so long. */
  readonly readMs?: number;
};
export type ServerJob = { readonly disks: readonly ServedDisk[]; readonly threads?: number };
export type Ready = { readonly port: number; readonly iqns: readonly string[] };
/** Delay of the event loop since the last reset, milliseconds. */
export type Look = { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };

/** The histogram counts the timer's own period; what is above it is delay. */
const PERIOD_MS = 1;

const job = JSON.parse(process.argv[2] ?? '{}') as ServerJob;
const serve = job.threads === undefined ? onThisThread : onThreads;
const { port, iqns, stop } = await serve();
const delay = monitorEventLoopDelay({ resolution: PERIOD_MS });
delay.enable();
const tell = (message: unknown): void => {
  process.send?.(message);
};
process.on('message', (word) => {
  if (word === 'reset') {
    delay.reset();
    tell('reset');
  } else {
    const ms = (ns: number): number => Math.max(0, ns / 1e6 - PERIOD_MS);
    const look: Look = {
      p50Ms: ms(delay.percentile(50)),
      p99Ms: ms(delay.percentile(99)),
      maxMs: ms(delay.max),
    };
    tell(look);
  }
});
process.once('disconnect', () => {
  void stop();
});
tell({ port, iqns } satisfies Ready);

type Serving = Ready & { readonly stop: () => Promise<void> };

async function onThisThread(): Promise<Serving> {
  const server = new TargetServer();
  const iqns: string[] = [];
  for (const [n, disk] of job.disks.entries()) {
    const raw = await openRaw(disk.path, { readOnly: true });
    const { readMs } = disk;
    const device = readMs === undefined ? raw : new DelayDevice(raw, systemClock, { readMs });
    const iqn = iqnOf(n);
    const units = new LogicalUnitSet({ targetName: iqn });
    const naa = `300000000000000${n}`;
    const names = {
      vendor: 'POLYBOOT',
      product: 'BENCH',
      revision: '1',
      serial: `bench-${n}`,
      naa,
    };
    units.add(0, new LogicalUnit({ device, identity: names }));
    server.addExport({ iqn, access: 'any', takeover: false }, units);
    iqns.push(iqn);
  }
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  return { port: portal?.port ?? 0, iqns, stop: () => server.close() };
}

async function onThreads(): Promise<Serving> {
  const [portal] = await freePortals([{ address: '127.0.0.1', port: 0 }]);
  if (portal === undefined) throw new Error('no port is free');
  const plane = await DataPlane.start({
    portals: [portal],
    threads: job.threads ?? 1,
    observer: { event: () => {} },
    log: silentLog,
    logLevel: 'silent',
    stateFolder: '/nonexistent',
    onDeath: (error) => {
      throw error;
    },
  });
  const drives = job.disks.map(({ path }, n): DriveExport => ({
    config: { iqn: iqnOf(n), access: 'any', takeover: false },
    machine: `m${n}`,
    image: `i${n}`,
    source: { kind: 'raw', path },
    readOnly: true,
    volatile: false,
    cdrom: false,
    serial: `bench-${n}`,
  }));
  for (const { why } of await plane.sync(drives)) throw new Error(why);
  return { port: portal.port, iqns: drives.map((d) => d.config.iqn), stop: () => plane.stop() };
}

function iqnOf(n: number): string {
  return `iqn.2026-11.org.polyboot:pressure-${n}`;
}
