/**
 * The target that crash tests kill: the same `TargetServer`, `LogicalUnit` and devices as
 * `polyboot export`, and nothing else, so that it is up in a tenth of a second.
 *
 *   node test/crash/target.ts '{"disks":[{"source":{"kind":"raw","path":"a.raw"},"cache":"writeback"}]}'
 *
 * LUN n is the n-th disk. Prints `ready PORT IQN`; SIGTERM ends it.
 */
import { AtomicLogFile, BasePool, FilterDevice, openDisk } from '#block/mod.ts';
import type { BlockDone, DiskSource } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';

/** One disk of the target. */
export type TargetDisk = {
  readonly source: DiskSource;
  readonly cache: 'writeback' | 'writethrough';
  /** Offers WRITE ATOMIC with this file as its log. */
  readonly log?: string;
  /** Answers writes before it makes them: for the proof that the test can fail. */
  readonly hasty?: boolean;
};

export const TARGET_IQN = 'iqn.2026-11.org.polyboot:crash';

/** Time between a hasty device's answer and its write. */
const HASTE_MS = 3;

/** What a target must not do: GOOD for what is in its own memory only. */
class HastyDevice extends FilterDevice {
  override tryWrite(): boolean {
    return false;
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const kept = Buffer.from(from.subarray(at, at + lengthBytes));
    setTimeout(() => {
      this.inner.write(offset, kept, 0, lengthBytes, () => {});
    }, HASTE_MS);
    queueMicrotask(() => {
      done(null);
    });
  }
}

async function serve(disks: readonly TargetDisk[]): Promise<void> {
  const units = new LogicalUnitSet({ targetName: TARGET_IQN });
  const bases = new BasePool();
  for (const [lun, { source, cache, log, hasty = false }] of disks.entries()) {
    const opened = await openDisk(source, {}, bases);
    const device = hasty ? new HastyDevice(opened) : opened;
    const identity = {
      vendor: 'POLYBOOT',
      product: 'CRASH',
      revision: '1',
      serial: `crash-${lun}`,
      naa: `300000000000000${lun}`,
    };
    const atomicLog = log === undefined ? undefined : await AtomicLogFile.open(log, device);
    const options = { device, identity, cache, ...(atomicLog === undefined ? {} : { atomicLog }) };
    units.add(lun, new LogicalUnit(options));
  }
  const server = new TargetServer();
  server.addExport({ iqn: TARGET_IQN, access: 'any', takeover: false }, units);
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  process.stdout.write(`ready ${portal?.port} ${TARGET_IQN}\n`);
  process.once('SIGTERM', () => {
    void server.close();
  });
}

if (import.meta.main) {
  const { disks } = JSON.parse(process.argv[2] ?? '{}') as { disks: readonly TargetDisk[] };
  await serve(disks);
}
