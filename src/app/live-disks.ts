import { InternalError } from '#base/mod.ts';
import { driveExports, type DriveExport } from '#boot/mod.ts';
import type { ImageLibrary, LiveDisks } from '#images/mod.ts';
import { targetNameOf, type Machine, type MachineService } from '#machines/mod.ts';
import type { DataPlane } from './data-plane.ts';

/** The drives of machines whose targets somebody is logged in to: index → machine. */
async function loggedIn(plane: DataPlane): Promise<ReadonlySet<string>> {
  const { sessions } = await plane.stats();
  return new Set(sessions.map((session) => session.targetName));
}

/** Whether a system of the machine is logged in to one of its drives. */
export async function isRunning(
  plane: DataPlane,
  machine: Machine,
  drives: number,
): Promise<boolean> {
  const targets = await loggedIn(plane);
  return Array.from({ length: drives }, (_, n) => targetNameOf(machine, n)).some((iqn) =>
    targets.has(iqn),
  );
}

/** The data plane as the image library asks for it. */
export function liveDisks(
  plane: DataPlane,
  machines: MachineService,
  images: ImageLibrary,
): LiveDisks {
  const sync = async (): Promise<void> => {
    await plane.sync(driveExports(machines, images));
  };
  /** The target by which a machine has this layer. */
  const targetOf = (layer: string): string | undefined =>
    machines
      .list()
      .flatMap((machine) =>
        machines
          .bootOf(machine)
          .drives.map((drive, n) =>
            images.layerOf(machine, drive) === layer ? targetNameOf(machine, n) : undefined,
          ),
      )
      .find((iqn) => iqn !== undefined);
  const exportOf = (iqn: string): DriveExport => {
    const found = driveExports(machines, images).find((d) => d.config.iqn === iqn);
    if (found === undefined) throw new InternalError(`nothing to serve as ${iqn} any more`);
    return found;
  };
  return {
    grow: async (layer, sizeBytes) => {
      const iqn = targetOf(layer);
      if (iqn === undefined) throw new InternalError(`layer ${layer} is not served`);
      await plane.grow(iqn, sizeBytes);
    },
    hold: async (layer, work) => {
      const iqn = targetOf(layer);
      return iqn === undefined ? await work() : await plane.hold(iqn, work, () => exportOf(iqn));
    },
    release: async (layers) => {
      // The library hides these layers meanwhile: what nobody is logged in to is let go.
      await sync();
      const targets = await loggedIn(plane);
      const uses = (machine: Machine): boolean =>
        machines
          .bootOf(machine)
          .drives.some(
            (drive, n) =>
              targets.has(targetNameOf(machine, n)) &&
              layers.has(images.layerOf(machine, drive) ?? ''),
          );
      return machines
        .list()
        .filter(uses)
        .map((machine) => machine.name);
    },
    restore: sync,
  };
}
