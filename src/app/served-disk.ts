import { InternalError } from '#base/mod.ts';
import { openRaw, type BlockDevice } from '#block/mod.ts';
import type { ExportConfig, TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { unitIdentity } from './identity.ts';

/** One disk as it is to be served: an image, and how initiators see it. */
export type DiskSpec = {
  readonly config: ExportConfig;
  readonly path: string;
  readonly blockBytes?: number;
  readonly readOnly: boolean;
  readonly cdrom: boolean;
  readonly removable?: boolean;
  readonly cache?: 'writeback' | 'writethrough';
  /** What its serial number is made from; see `unitIdentity`. */
  readonly serial: string;
};

/** A disk that is being served. */
export type ServedDisk = {
  readonly sizeBytes: number;
  /** Takes the target away (its sessions end first), flushes, and lets go of the image. */
  readonly close: () => Promise<void>;
};

/** Opens an image and puts it behind a target of `server` as LUN 0. Throws UserError. */
export async function serveDisk(server: TargetServer, disk: DiskSpec): Promise<ServedDisk> {
  const { config, path, blockBytes, readOnly, cdrom } = disk;
  const device = await openRaw(path, {
    readOnly: readOnly || cdrom,
    ...(blockBytes === undefined ? {} : { blockBytes }),
  });
  try {
    const units = new LogicalUnitSet({ targetName: config.iqn });
    units.add(
      0,
      new LogicalUnit({
        device,
        identity: unitIdentity(disk.serial),
        kind: cdrom ? 'cdrom' : 'disk',
        abortTasks: (nexus) => {
          server.abortTasksOf(nexus, 0);
        },
        ...(disk.removable === undefined ? {} : { removable: disk.removable }),
        ...(disk.cache === undefined ? {} : { cache: disk.cache }),
      }),
    );
    server.addExport(config, units);
  } catch (e) {
    await closeDevice(device);
    throw e;
  }
  return {
    sizeBytes: device.sizeBytes,
    close: async () => {
      await server.removeExport(config.iqn);
      await closeDevice(device);
    },
  };
}

function closeDevice(device: BlockDevice): Promise<void> {
  return new Promise((resolve, reject) => {
    device.close((error) => {
      if (error === null) resolve();
      else reject(new InternalError('an image did not close cleanly', { cause: error }));
    });
  });
}
