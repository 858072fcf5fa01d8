/**
 * A target in a process of its own that knows how late its event loop is. Forked by the benches:
 *
 *   fork('bench/target/server.ts', [JSON.stringify({ disks: [{ path }, { path, readMs: 5 }] })])
 *
 * Sends `{ port, iqns }` when ready; answers 'reset' with 'reset' and 'look' with a `Look`.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { systemClock } from '#base/mod.ts';
import { DelayDevice, openRaw } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';

export type ServedDisk = {
  readonly path: string;
  /** A slow disk: nothing is resident, and each read takes so long. */
  readonly readMs?: number;
};
export type ServerJob = { readonly disks: readonly ServedDisk[] };
export type Ready = { readonly port: number; readonly iqns: readonly string[] };
/** Delay of the event loop since the last reset, milliseconds. */
export type Look = { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };

/** The histogram counts the timer's own period; what is above it is delay. */
const PERIOD_MS = 1;

const job = JSON.parse(process.argv[2] ?? '{}') as ServerJob;
const server = new TargetServer();
const iqns: string[] = [];
for (const [n, disk] of job.disks.entries()) {
  const raw = await openRaw(disk.path, { readOnly: true });
  const { readMs } = disk;
  const device = readMs === undefined ? raw : new DelayDevice(raw, systemClock, { readMs });
  const iqn = `iqn.2026-11.org.polyboot:pressure-${n}`;
  const units = new LogicalUnitSet({ targetName: iqn });
  const naa = `300000000000000${n}`;
  const names = { vendor: 'POLYBOOT', product: 'BENCH', revision: '1', serial: `bench-${n}`, naa };
  units.add(0, new LogicalUnit({ device, identity: names }));
  server.addExport({ iqn, access: 'any', takeover: false }, units);
  iqns.push(iqn);
}
const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
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
  void server.close();
});
tell({ port: portal?.port ?? 0, iqns } satisfies Ready);
