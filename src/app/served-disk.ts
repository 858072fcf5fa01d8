import { InternalError } from '#base/mod.ts';
import { openDisk, type BasePool, type BlockDevice, type DiskSource } from '#block/mod.ts';
import type { ExportConfig, TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { unitIdentity } from './identity.ts';

/** One disk as it is to be served: what it is made of, and how initiators see it. */
export type DiskSpec = {
  readonly config: ExportConfig;
  readonly source: DiskSource;
  readonly readOnly: boolean;
  /** Nothing of it is kept over a power cut, by its owner's choice (durability contract 9). */
  readonly volatile?: boolean;
  readonly cdrom: boolean;
  readonly removable?: boolean;
  readonly cache?: 'writeback' | 'writethrough';
  /** What its serial number is made from; see `unitIdentity`. */
  readonly serial: string;
};

/** A disk that is being served. */
export type ServedDisk = {
  readonly device: BlockDevice;
  readonly unit: LogicalUnit;
  /** Takes the target away (its sessions end first), flushes, and lets go of the image. */
  readonly close: () => Promise<void>;
};

/**
 * Opens a disk (its bases through `pool`) and puts it behind a target of `server` as LUN 0. Throws
 * UserError, EnvironmentError.
 */
export async function serveDisk(
  server: TargetServer,
  pool: BasePool,
  disk: DiskSpec,
): Promise<ServedDisk> {
  const { config, cdrom } = disk;
  const { removable, cache, volatile = false } = disk;
  const device = await openDisk(disk.source, { readOnly: disk.readOnly || cdrom, volatile }, pool);
  try {
    const units = new LogicalUnitSet({ targetName: config.iqn });
    const unit = new LogicalUnit({
      device,
      identity: unitIdentity(disk.serial),
      kind: cdrom ? 'cdrom' : 'disk',
      abortTasks: (nexus) => {
        server.abortTasksOf(nexus, 0);
      },
      ...(removable === undefined ? {} : { removable }),
      ...(cache === undefined ? {} : { cache }),
    });
    units.add(0, unit);
    server.addExport(config, units);
    return {
      device,
      unit,
      close: async () => {
        await server.removeExport(config.iqn);
        await closeDevice(device);
      },
    };
  } catch (e) {
    await closeDevice(device);
    throw e;
  }
}

function closeDevice(device: BlockDevice): Promise<void> {
  return new Promise((resolve, reject) => {
    device.close((error) => {
      if (error === null) resolve();
      else reject(new InternalError('an image did not close cleanly', { cause: error }));
    });
  });
}
