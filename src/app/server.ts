import { availableParallelism } from 'node:os';
import { messageOf, type Clock, type Log } from '#base/mod.ts';
import { driveExports, type EventLog, type Stage } from '#boot/mod.ts';
import { DhcpService } from '#dhcp/mod.ts';
import { HttpServer } from '#http/mod.ts';
import { defaultRouteInterfaces, listInterfaces } from '#net/mod.ts';
import { RadvService } from '#radv/mod.ts';
import { openEventLog, openState } from '#store/mod.ts';
import type { Config } from './config.ts';
import { DataPlane } from './data-plane.ts';
import { dhcpNetworkOf, matchNetworks, type BootNetwork, type Finding } from './networks.ts';
import type { Paths } from './paths.ts';
import { folderFindings, loaderFindings, otherServerFindings, refusal } from './preflight.ts';
import { rememberSchools } from './school-settings.ts';
import { assemble, type ServerParts } from './server-parts.ts';
import { startTftp, type TftpService } from './tftp-service.ts';

/** Beyond this a network card is the bound, and each thread costs some 40 MB. */
const PLANE_THREADS_MAX = 4;

export type BootServerOptions = {
  readonly config: Config;
  readonly paths: Paths;
  readonly clock: Clock;
  readonly log: Log;
  /** The server cannot go on (the data plane died): stop and say so. */
  readonly onFatal: (error: Error) => void;
};

/** What runs, for status displays. */
export type Services = {
  readonly dhcp: DhcpService;
  readonly radv: RadvService | undefined;
  readonly tftp: TftpService;
  readonly http: HttpServer;
  readonly plane: DataPlane;
  /** Resolves when the drives are served as the last change of machines wants it. */
  readonly settled: () => Promise<void>;
};

/**
 * One boot server: everything `polyboot up` serves, in the order in which a failure hurts least:
 * look first, then state, then disks and files, and DHCP last, so that no machine is sent on a way
 * that is not open yet. All of it starts or nothing does.
 */
export class BootServer {
  readonly options: BootServerOptions;
  readonly networks: readonly BootNetwork[];
  /** What the preflight noticed and did not refuse. */
  readonly findings: readonly Finding[];
  readonly parts: ServerParts;
  readonly services: Services;
  readonly startedAtMs: number;
  readonly #stops: Stop[];

  private constructor(built: Built, options: BootServerOptions) {
    this.options = options;
    this.networks = built.networks;
    this.findings = built.findings;
    this.parts = built.parts;
    this.services = built.services;
    this.#stops = built.stops;
    this.startedAtMs = options.clock.wallMs();
  }

  /**
   * Starts everything. Throws EnvironmentError or UserError with all reasons at once; then nothing
   * is left running.
   */
  static async start(options: BootServerOptions): Promise<BootServer> {
    const { networks, findings } = await look(options);
    const refused = refusal(findings);
    if (refused !== undefined) throw refused;
    const stops: Built['stops'] = [];
    try {
      const built = await build(options, networks, stops);
      adviseProxies(networks, options.log);
      return new BootServer({ ...built, networks, findings, stops }, options);
    } catch (e) {
      await unwind(stops, options.log);
      throw e;
    }
  }

  /** Stops in the reverse order: no new boots, then files and disks, then the state. Idempotent. */
  async stop(): Promise<void> {
    await unwind(this.#stops, this.options.log);
  }
}

type Stop = () => Promise<void> | void;

type Built = {
  readonly networks: readonly BootNetwork[];
  readonly findings: readonly Finding[];
  readonly parts: ServerParts;
  readonly services: Services;
  readonly stops: Stop[];
};

async function look(
  options: BootServerOptions,
): Promise<{ networks: readonly BootNetwork[]; findings: readonly Finding[] }> {
  const { config, paths } = options;
  const matched = matchNetworks(config.networks, listInterfaces(), defaultRouteInterfaces());
  // Only a DHCP server must know before it starts; a proxy can hear the answer later.
  const serving = matched.networks.filter((n) => n.config.dhcp === 'server');
  const others = await otherServerFindings(serving);
  const findings = [
    ...matched.findings,
    ...others,
    ...folderFindings(paths),
    ...loaderFindings(config),
  ];
  return { networks: matched.networks, findings };
}

/** Tells, in a few seconds, when a proxy network has nobody who gives addresses. */
function adviseProxies(networks: readonly BootNetwork[], log: Log): void {
  otherServerFindings(networks.filter((n) => n.config.dhcp === 'proxy')).then(
    (findings) => {
      for (const f of findings)
        if (f.level !== 'ok') log.warn({ why: f.why, todo: f.todo }, f.what);
    },
    (e: unknown) => {
      log.warn({ why: messageOf(e) }, 'could not ask who gives addresses');
    },
  );
}

async function build(
  options: BootServerOptions,
  networks: readonly BootNetwork[],
  stops: Built['stops'],
): Promise<Pick<Built, 'parts' | 'services'>> {
  const { config, paths, clock, log } = options;
  const state = openState(paths.database);
  stops.push(() => {
    state.close();
  });
  const events = openEventLog<Stage | 'stopped'>(paths.events, log);
  stops.push(events.close);
  const running: { plane?: DataPlane } = {};
  const parts = assemble({
    config,
    networks,
    paths,
    state,
    events: events.log satisfies EventLog,
    clock,
    log,
    plane: () => running.plane,
  });
  stops.push(() => {
    parts.timeline.close();
    rememberSchools(state.settings, parts.schools.proven());
  });
  // What waits for clients to let go waits for all of them together: each has a second.
  const serving: Stop[] = [];
  stops.push(async () => {
    await Promise.all(serving.map((stop) => endOne(stop, log)));
  });
  const { plane, settled } = await startPlane(options, networks, parts);
  running.plane = plane;
  serving.push(() => plane.stop());
  const http = await startHttp(options, networks, parts);
  serving.push(() => http.stop());
  const tftp = await startTftp({ config, networks, parts, clock, log });
  serving.push(() => tftp.stop());
  const dhcp = await startDhcp(options, networks, parts);
  stops.push(() => dhcp.close());
  const advertised = networks
    .filter((n) => n.config.dhcp === 'server' && n.config.routerAdvertisement)
    .map((n) => n.config.interface);
  const radv =
    advertised.length === 0
      ? undefined
      : await RadvService.start({ interfaces: advertised, clock, log });
  if (radv !== undefined) stops.push(() => radv.close());
  return { parts, services: { dhcp, radv, tftp, http, plane, settled } };
}

async function startPlane(
  options: BootServerOptions,
  networks: readonly BootNetwork[],
  parts: ServerParts,
): Promise<Pick<Services, 'plane' | 'settled'>> {
  const { config, log } = options;
  const plane = await DataPlane.start({
    portals: networks.map((n) => ({ address: n.address, port: config.iscsi.port })),
    threads: config.iscsi.threads ?? defaultThreads(),
    observer: parts.targetStory,
    log,
    logLevel: config.log,
    stateFolder: options.paths.units,
    onDeath: options.onFatal,
  });
  const sync = async (): Promise<void> => {
    for (const p of await plane.sync(driveExports(parts.machines, parts.images))) {
      log.warn({ ...p }, 'a drive is not served');
    }
  };
  let settling = Promise.resolve();
  parts.machines.subscribe(() => {
    settling = sync().catch((e: unknown) => {
      log.error({ why: messageOf(e) }, 'the drives could not be brought up to date');
    });
  });
  await sync();
  return { plane, settled: () => settling };
}

/** Half of the processors: the other half is for the kernel's side of the same traffic. */
function defaultThreads(): number {
  return Math.max(1, Math.min(PLANE_THREADS_MAX, Math.floor(availableParallelism() / 2)));
}

async function startHttp(
  options: BootServerOptions,
  networks: readonly BootNetwork[],
  parts: ServerParts,
): Promise<HttpServer> {
  const { config, clock, log } = options;
  const http = new HttpServer({
    listen: networks.map((n) => ({ address: n.address, port: config.http.port })),
    site: parts.site,
    observer: parts.httpStory,
    clock,
    log,
  });
  await http.start();
  return http;
}

async function startDhcp(
  options: BootServerOptions,
  networks: readonly BootNetwork[],
  parts: ServerParts,
): Promise<DhcpService> {
  const { paths, clock, log } = options;
  return await DhcpService.start({
    // The preflight has asked already who else is there, and refused with all other reasons.
    networks: networks.map((n) => ({ ...dhcpNetworkOf(n), force: true })),
    policy: parts.policy,
    observer: parts.dhcpStory,
    journalPath: paths.leases,
    schools: parts.schools,
    clock,
    log,
  });
}

async function unwind(stops: Stop[], log: Log): Promise<void> {
  for (let stop = stops.pop(); stop !== undefined; stop = stops.pop()) await endOne(stop, log);
}

async function endOne(stop: Stop, log: Log): Promise<void> {
  try {
    await stop();
  } catch (e) {
    // One service that cannot stop cleanly must not keep the others from flushing.
    log.error({ why: messageOf(e) }, 'a service did not stop cleanly');
  }
}
