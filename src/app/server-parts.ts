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
import { MachineService, type Machine } from '#machines/mod.ts';
import type { StateStore } from '#store/mod.ts';
import type { Config } from './config.ts';
import type { DataPlane } from './data-plane.ts';
import { locateLoader } from './loaders.ts';
import { neighbourMac } from './neighbours.ts';
import type { Paths } from './paths.ts';

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
    images: { has: (name) => state.images.get(name) !== undefined },
    clock,
    log,
  });
  const images = ImageLibrary.open({
    folder: paths.images,
    cacheFolder: paths.cache,
    repository: state.images,
    clock,
    log,
    usersOf: (name) => machines.holdersOf(name).map((h) => `machine ${h.machine}`),
  });
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
    replyDelayMs: (name) => config.networks.find((n) => n.interface === name)?.replyDelayMs ?? 0,
  });
  const site = new PolybootSite({
    machines,
    images: state.images,
    timeline,
    addresses,
    loaders: { locate: (file) => locateLoader(config.loaders, file) },
    filesRoot: paths.files,
    iscsiPort: config.iscsi.port,
    prepareDrives: (machine, again) => prepareDrives(inputs, machines, machine, again),
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

/** Serves what the machine's boot uses; resolves to what could not be served, in words. */
async function prepareDrives(
  inputs: Inputs,
  machines: MachineService,
  machine: Machine,
  again: boolean,
): Promise<readonly string[]> {
  const plane = inputs.plane();
  if (plane === undefined) return ['the iSCSI target is not running'];
  try {
    const drives = driveExports(machines, inputs.state.images);
    const problems = await plane.sync(drives, again ? machine.name : undefined);
    return problems.filter((p) => p.machine === machine.name).map((p) => p.why);
  } catch (e) {
    return [messageOf(e)];
  }
}
