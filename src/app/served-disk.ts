import { EnvironmentError, InternalError, invariant, UserError } from '#base/mod.ts';
import {
  answered,
  BlockError,
  openDisk,
  type BasePool,
  type BlockDevice,
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
   * Folder for what the unit keeps beyond the end of the process (reservations, saved mode pages,
   * the log of atomic writes). Without it, and for disks that nobody writes, such things are
   * refused.
   */
  readonly stateFolder?: string;
};

/**
 * Opens a disk (its bases through `pool`) and puts it behind a target of `server` as LUN 0. Throws
 * UserError, EnvironmentError.
 */
export async function serveDisk(
  server: TargetServer,
  pool: BasePool,
  spec: DiskSpec,
): Promise<ServedDisk> {
  const device = await openSpec(spec, pool);
  try {
    const kept = await openState(spec, device);
    try {
      return new ServedDisk(server, pool, spec, device, kept);
    } catch (e) {
      await kept?.close();
      throw e;
    }
  } catch (e) {
    await closeDevice(device);
    throw e;
  }
}

function openSpec(spec: DiskSpec, pool: BasePool): Promise<BlockDevice> {
  const { source, cdrom, volatile = false } = spec;
  return openDisk(source, { readOnly: spec.readOnly || cdrom, volatile }, pool);
}

async function openState(disk: DiskSpec, device: BlockDevice): Promise<OpenUnitState | undefined> {
  // Many may read one disk at once; what each of them keeps would have no one owner.
  if (disk.stateFolder === undefined || device.readOnly) return undefined;
  return await openUnitState(disk.stateFolder, unitIdentity(disk.serial).serial, device);
}

/** A hold: the device is closed, and the unit's commands wait for what takes its place. */
type Hold = { readonly next: PromiseWithResolvers<DiskSpec>; readonly over: Promise<void> };

/** A disk that is being served. */
export class ServedDisk {
  readonly unit: LogicalUnit;
  readonly #server: TargetServer;
  readonly #pool: BasePool;
  readonly #iqn: string;
  readonly #kept: OpenUnitState | undefined;
  #device: BlockDevice;
  #hold: Hold | null = null;

  /** Adds the target; `serveDisk` makes it. Throws UserError. */
  constructor(
    server: TargetServer,
    pool: BasePool,
    spec: DiskSpec,
    device: BlockDevice,
    kept: OpenUnitState | undefined,
  ) {
    const { config, removable, cache } = spec;
    this.#server = server;
    this.#pool = pool;
    this.#iqn = config.iqn;
    this.#kept = kept;
    this.#device = device;
    const units = new LogicalUnitSet({ targetName: config.iqn });
    this.unit = new LogicalUnit({
      device,
      identity: unitIdentity(spec.serial),
      kind: spec.cdrom ? 'cdrom' : 'disk',
      abortTasks: (nexus) => server.abortTasksOf(nexus, 0),
      ...kept?.options,
      ...(removable === undefined ? {} : { removable }),
      ...(cache === undefined ? {} : { cache }),
    });
    units.add(0, this.unit);
    server.addExport(config, units);
  }

  get device(): BlockDevice {
    return this.#device;
  }

  /**
   * Lets the initiators' commands wait, flushes the image and closes it. Resolves when nothing
   * holds it any more; then `resume` must follow, soon: initiators wait a minute or two. Rejects
   * when the disk is failed.
   */
  hold(): Promise<void> {
    invariant(this.#hold === null, 'one hold at a time');
    const next = Promise.withResolvers<DiskSpec>();
    const held = Promise.withResolvers<undefined>();
    const over = new Promise<void>((resolve, reject) => {
      const make = async (old: BlockDevice): Promise<BlockDevice> => {
        await closeDevice(old);
        held.resolve(undefined);
        this.#device = await openSpec(await next.promise, this.#pool);
        return this.#device;
      };
      this.unit.swapDevice(make, (error) => {
        this.#hold = null;
        if (error === null) {
          resolve();
          return;
        }
        held.reject(error);
        reject(error);
      });
    });
    // Whoever resumes hears of it; a hold that failed has told already.
    over.catch(() => undefined);
    this.#hold = { next, over };
    return held.promise;
  }

  /** Serves what `spec` says in the place of what was held. Rejects when it cannot be opened. */
  async resume(spec: DiskSpec): Promise<void> {
    invariant(this.#hold !== null, 'only what is held can go on');
    const { next, over } = this.#hold;
    next.resolve(spec);
    await over;
  }

  /** Takes the target away (its sessions end first), flushes, and lets go of the image. */
  async close(): Promise<void> {
    this.#hold?.next.reject(new InternalError('the disk is not served any more'));
    await this.#server.removeExport(this.#iqn);
    await this.#kept?.close();
    await closeDevice(this.#device);
  }
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
  try {
    await answered((done) => device.grow?.(sizeBytes, done));
    await answered((done) => {
      unit.rescan(done);
    });
  } catch (e) {
    if (!(e instanceof BlockError)) throw e;
    throw new EnvironmentError(e.code, { what: 'the disk cannot grow', why: e.message });
  }
}

async function closeDevice(device: BlockDevice): Promise<void> {
  try {
    await answered((done) => {
      device.close(done);
    });
  } catch (cause) {
    throw new InternalError('an image did not close cleanly', { cause });
  }
}
