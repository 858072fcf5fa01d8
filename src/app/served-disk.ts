import { EnvironmentError, InternalError, UserError } from '#base/mod.ts';
import {
  openDisk,
  type BasePool,
  type BlockDevice,
  type BlockDone,
  type DiskSource,
} from '#block/mod.ts';
import type { ExportConfig, TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet, openUnitState, type OpenUnitState } from '#scsi/mod.ts';
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
  /**
   * Folder for what the unit keeps beyond the end of the process (reservations, saved mode pages, the
   * log of atomic writes). Without it, and for disks that nobody writes, such things are refused.
   */
  readonly stateFolder?: string;
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
  const { cdrom, volatile = false } = disk;
  const device = await openDisk(disk.source, { readOnly: disk.readOnly || cdrom, volatile }, pool);
  try {
    const kept = await openState(disk, device);
    try {
      return serve(server, disk, device, kept);
    } catch (e) {
      await kept?.close();
      throw e;
    }
  } catch (e) {
    await closeDevice(device);
    throw e;
  }
}

async function openState(disk: DiskSpec, device: BlockDevice): Promise<OpenUnitState | undefined> {
  // Many may read one disk at once; what each of them keeps would have no one owner.
  if (disk.stateFolder === undefined || device.readOnly) return undefined;
  return await openUnitState(disk.stateFolder, unitIdentity(disk.serial).serial, device);
}

function serve(
  server: TargetServer,
  disk: DiskSpec,
  device: BlockDevice,
  kept: OpenUnitState | undefined,
): ServedDisk {
  const { config, removable, cache } = disk;
  const units = new LogicalUnitSet({ targetName: config.iqn });
  const unit = new LogicalUnit({
    device,
    identity: unitIdentity(disk.serial),
    kind: disk.cdrom ? 'cdrom' : 'disk',
    abortTasks: (nexus) => {
      server.abortTasksOf(nexus, 0);
    },
    ...kept?.options,
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
      await kept?.close();
      await closeDevice(device);
    },
  };
}

/**
 * Makes a disk larger while it is used, and tells its initiators. Throws UserError `not-served`,
 * `grow-kind`, EnvironmentError.
 */
export async function growDisk(
  iqn: string,
  disk: ServedDisk | undefined,
  sizeBytes: number,
): Promise<void> {
  if (disk === undefined) {
    throw new UserError('not-found', 'not-served', { what: `${iqn} is not being served` });
  }
  const { device, unit } = disk;
  if (device.grow === undefined) {
    throw new UserError('unsupported', 'grow-kind', {
      what: 'this disk cannot be made larger from here',
      why: 'its space belongs to another program',
      todo: 'make it larger there (lvextend, zfs set volsize …), and try again',
    });
  }
  await asked((done) => device.grow?.(sizeBytes, done));
  await asked((done) => {
    unit.rescan(done);
  });
}

function asked(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else
        reject(
          new EnvironmentError(error.code, { what: 'the disk cannot grow', why: error.message }),
        );
    });
  });
}

function closeDevice(device: BlockDevice): Promise<void> {
  return new Promise((resolve, reject) => {
    device.close((error) => {
      if (error === null) resolve();
      else reject(new InternalError('an image did not close cleanly', { cause: error }));
    });
  });
}
