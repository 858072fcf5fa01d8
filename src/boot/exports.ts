import type { Image, ImageRepository } from '#images/mod.ts';
import type { ExportConfig } from '#iscsi/mod.ts';
import { initiatorNameOf, targetNameOf, type Machine, type MachineService } from '#machines/mod.ts';

/** One drive of one machine, as the data plane must serve it: plain data. */
export type DriveExport = {
  readonly config: ExportConfig;
  readonly machine: string;
  readonly image: string;
  readonly path: string;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly cdrom: boolean;
  /** Stays the same for one image under one name, wherever it is attached. */
  readonly serial: string;
};

/** Everything that must be served now: the drives in force of every machine. */
export function driveExports(machines: MachineService, images: ImageRepository): DriveExport[] {
  return machines.list().flatMap((machine) => {
    const { drives } = machines.bootOf(machine);
    return drives.flatMap((drive, index) => {
      const image = images.get(drive.image);
      if (image === undefined) return [];
      return [driveExport(machine, index, image, drive.mode === 'shared')];
    });
  });
}

function driveExport(machine: Machine, index: number, image: Image, shared: boolean): DriveExport {
  const { chap } = machine;
  return {
    config: {
      iqn: targetNameOf(machine, index),
      alias: image.name,
      // One writer, by construction: nobody but this machine may log in.
      access: [initiatorNameOf(machine)],
      ...(chap === undefined ? {} : { chap }),
      takeover: true,
    },
    machine: machine.name,
    image: image.name,
    path: image.path,
    blockBytes: image.blockBytes,
    readOnly: shared || image.kind === 'iso',
    cdrom: image.kind === 'iso',
    serial: image.name,
  };
}
