import type { Clock, Log } from '#base/mod.ts';
import { messageOf } from '#base/mod.ts';
import {
  AddressBook,
  BootDhcpPolicy,
  DhcpStory,
  driveExports,
  HttpStory,
  PolybootSite,
  TargetStory,
  TftpStory,
  Timeline,
  type EventLog,
  type FixedHost,
} from '#boot/mod.ts';
import { SchoolMemory } from '#dhcp/mod.ts';
import { rememberedSchools } from './school-settings.ts';
import { ImageLibrary } from '#images/mod.ts';
import { findLoaders, loadersFor } from '#ipxe/mod.ts';
import { holdsOf, MachineService, type Machine } from '#machines/mod.ts';
import type { StateStore } from '#store/mod.ts';
import type { Config } from './config.ts';
import type { DataPlane } from './data-plane.ts';
import { isRunning, liveDisks } from './live-disks.ts';
import { locateLoader } from './loaders.ts';
import { neighbourMac } from './neighbours.ts';
import { checkMachineAddress, type BootNetwork } from './networks.ts';
import type { Paths } from './paths.ts';

/** Where Debian's syslinux-common has `memdisk`; a folder of `loaders` with one comes first. */
const MEMDISK_FOLDER = '/usr/lib/syslinux';

/** Everything of a server that decides and remembers, before anything listens. */
export type ServerParts = {
  readonly machines: MachineService;
  readonly images: ImageLibrary;
  readonly timeline: Timeline;
  readonly addresses: AddressBook;
  readonly schools: SchoolMemory;
  readonly policy: BootDhcpPolicy;
  readonly dhcpStory: DhcpStory;
  readonly httpStory: HttpStory;
  readonly targetStory: TargetStory;
  readonly tftpStory: TftpStory;
  readonly site: PolybootSite;
};

type Inputs = {
  readonly config: Config;
  readonly networks: readonly BootNetwork[];
  readonly paths: Paths;
  readonly state: StateStore;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly log: Log;
  /** The data plane, once it runs. */
  readonly plane: () => DataPlane | undefined;
};

/** Builds the domain and the policy over an open state. */
export function assemble(inputs: Inputs): ServerParts {
  const { config, paths, state, clock, log } = inputs;
  const machines = new MachineService({
    repository: state.machines,
    images: {
      has: (name) => state.images.get(name) !== undefined,
      checkAttach: (name, mode) => {
        images.checkAttach(name, mode);
      },
      checkIso: (name) => {
        images.checkIso(name);
      },
    },
    addresses: {
      checkAddress: (address, macs) => {
        checkMachineAddress(inputs.networks, address, macs);
      },
    },
    clock,
    log,
  });
  const images = openLibrary(inputs, machines);
  const addresses = new AddressBook(neighbourMac);
  const timeline = new Timeline({
    clock,
    log: inputs.events,
    machineOf: (mac) => machines.byMac(mac)?.name,
  });
  const schools = new SchoolMemory(rememberedSchools(state.settings));
  const onLoader = (mac: string): void => {
    schools.fetched(mac);
  };
  const loaders = findLoaders(config.loaders).found;
  const story = { timeline, addresses, log };
  const policy = new BootDhcpPolicy({
    machines,
    httpPort: config.http.port,
    loaders: { fileFor: (arch) => loadersFor(arch, loaders)[0]?.fact.file },
    fixedHosts: fixedHostsOf(config),
  });
  const site = new PolybootSite({
    machines,
    images: state.images,
    timeline,
    addresses,
    loaders: { locate: (file) => locateLoader([...config.loaders, MEMDISK_FOLDER], file) },
    filesRoot: paths.files,
    iscsiPort: config.iscsi.port,
    prepareDrives: (machine, again) => prepareDrives(inputs, machines, images, machine, again),
    isRunning: async (machine) => {
      const plane = inputs.plane();
      const drives = machines.bootOf(machine).drives.length;
      return plane !== undefined && (await isRunning(plane, machine, drives));
    },
  });
  return {
    machines,
    images,
    timeline,
    addresses,
    schools,
    policy,
    dhcpStory: new DhcpStory(story),
    httpStory: new HttpStory({ ...story, onLoader }),
    tftpStory: new TftpStory({ ...story, onLoader }),
    targetStory: new TargetStory({ ...story, machines }),
    site,
  };
}

function fixedHostsOf(config: Config): ReadonlyMap<string, FixedHost> {
  return new Map(
    config.networks.flatMap((n) =>
      n.reservations.map(({ mac, address, hostName }): [string, FixedHost] => [
        mac,
        hostName === undefined ? { address } : { address, hostName },
      ]),
    ),
  );
}

/** The image library, and its view of machines and of the disks that are served. */
function openLibrary(inputs: Inputs, machines: MachineService): ImageLibrary {
  const { paths, state, clock, log } = inputs;
  const images: ImageLibrary = ImageLibrary.open({
    folder: paths.images,
    cacheFolder: paths.cache,
    repository: state.images,
    clock,
    log,
    usersOf: (name) => machines.holdersOf(name).map((h) => `machine ${h.machine}`),
    machines: {
      holdersOf: (name) => machines.holdersOf(name),
      nameOf: (id) => machines.byId(id)?.name,
    },
    live: () => {
      const plane = inputs.plane();
      return plane === undefined ? undefined : liveDisks(plane, machines, images);
    },
  });
  const uses = (id: string, image: string): boolean => {
    const machine = machines.byId(id);
    return machine !== undefined && holdsOf(machine).some((hold) => hold.image === image);
  };
  images.tidyOverlays(uses);
  machines.subscribe((event) => {
    if (event.kind === 'removed' || (event.kind === 'changed' && losesImage(event)))
      images.tidyOverlays(uses);
  });
  return images;
}

function losesImage({ before, machine }: { before: Machine; machine: Machine }): boolean {
  const held = new Set(holdsOf(machine).map((hold) => hold.image));
  return holdsOf(before).some((hold) => !held.has(hold.image));
}

/** Serves what the machine's boot uses; resolves to what could not be served, in words. */
async function prepareDrives(
  inputs: Inputs,
  machines: MachineService,
  images: ImageLibrary,
  machine: Machine,
  again: boolean,
): Promise<readonly string[]> {
  const plane = inputs.plane();
  if (plane === undefined) return ['the iSCSI target is not running'];
  try {
    const { drives } = machines.bootOf(machines.byId(machine.id) ?? machine);
    const unmade = await images.prepareBoot(machine, drives, again);
    const without = drives.filter((drive) => images.diskOf(machine, drive) === undefined);
    const problems = await plane.sync(
      driveExports(machines, images),
      again ? machine.name : undefined,
    );
    const absent = without.map(({ image }) => `image "${image}" is being worked on just now`);
    return [
      ...(unmade.length > 0 ? unmade : absent),
      ...problems.filter((p) => p.machine === machine.name).map((p) => p.why),
    ];
  } catch (e) {
    return [messageOf(e)];
  }
}
