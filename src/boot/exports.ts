import type { DiskSource } from '#block/mod.ts';
import type { DriveDisk } from '#images/mod.ts';
import type { ExportConfig } from '#iscsi/mod.ts';
import {
  initiatorNameOf,
  targetNameOf,
  type Drive,
  type Machine,
  type MachineService,
} from '#machines/mod.ts';

/** One drive of one machine, as the data plane must serve it: plain data. */
export type DriveExport = {
  readonly config: ExportConfig;
  readonly machine: string;
  readonly image: string;
  readonly source: DiskSource;
  readonly readOnly: boolean;
  /** Durability contract 9: a flush need not reach the disk. */
  readonly volatile: boolean;
  readonly cdrom: boolean;
  /**
   * Stays the same for one disk: an image wherever it is attached, or a machine's overlay on it.
   */
  readonly serial: string;
};

/** Who knows the bytes behind a drive; undefined: there are none to be served now. */
export interface DriveDisks {
  diskOf(machine: Machine, drive: Drive): DriveDisk | undefined;
}

/** Everything that must be served now: the drives in force of every machine. */
export function driveExports(machines: MachineService, disks: DriveDisks): DriveExport[] {
  return machines.list().flatMap((machine) => {
    const { drives } = machines.bootOf(machine);
    return drives.flatMap((drive, index) => {
      const disk = disks.diskOf(machine, drive);
      return disk === undefined ? [] : [driveExport(machine, index, drive, disk)];
    });
  });
}

function driveExport(
  machine: Machine,
  index: number,
  { image, mode }: Drive,
  disk: DriveDisk,
): DriveExport {
  const { chap } = machine;
  const { source, readOnly, volatile, cdrom } = disk;
  return {
    config: {
      iqn: targetNameOf(machine, index),
      alias: image,
      // One writer, by construction: nobody but this machine may log in.
      access: [initiatorNameOf(machine)],
      ...(chap === undefined ? {} : { chap }),
      takeover: true,
    },
    machine: machine.name,
    image,
    source,
    readOnly,
    volatile,
    cdrom,
    // Each machine's overlay is a disk of its own.
    serial: mode.startsWith('overlay') ? `${image} on ${machine.name}.${index}` : image,
  };
}
