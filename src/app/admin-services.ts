import type {
  AdminImages,
  AdminServices,
  Lease,
  ServiceStatus,
  SessionStatus,
  Status,
} from '#api/mod.ts';
import type { ImageLibrary } from '#images/mod.ts';
import type { TargetStats } from '#iscsi/mod.ts';
import type { BootServer } from './server.ts';

/** What the admin API speaks of, over a running server. */
export function adminServices(server: BootServer, version: string): AdminServices {
  const { machines, images, timeline } = server.parts;
  const reportPort = server.options.config.http.port;
  return {
    machines,
    images: adminImages(images, reportPort),
    events: {
      after: (id, limit) => timeline.after(id, limit),
      lastId: () => timeline.lastId(),
      subscribe: (listener) => timeline.subscribe(listener),
    },
    settled: () => server.services.settled(),
    leases: () => leasesOf(server),
    status: () => statusOf(server, version),
  };
}

/**
 * The library itself, but that a built system reports to the server it boots from: to this port.
 */
function adminImages(images: ImageLibrary, reportPort: number): AdminImages {
  return {
    list: () => images.list(),
    get: (name) => images.get(name),
    sourceOf: (name) => images.sourceOf(name),
    add: (path, options) => images.add(path, options),
    create: (name, options) => images.create(name, options),
    build: (name, request, work) => images.build(name, { ...request, reportPort }, work),
    clone: (from, name, work) => images.clone(from, name, work),
    import: (path, options, work) => images.import(path, options, work),
    export: (from, path, options, work) => images.export(from, path, options, work),
    overlay: (base, name, note) => images.overlay(base, name, note),
    snapshot: (name, comment) => images.snapshot(name, comment),
    rollback: (name, point) => images.rollback(name, point),
    freeze: (name, comment) => images.freeze(name, comment),
    promote: (source, comment) => images.promote(source, comment),
    promoteOverlay: (machine, image, comment) => images.promoteOverlay(machine, image, comment),
    flatten: (name, work) => images.flatten(name, work),
    resize: (name, sizeBytes) => images.resize(name, sizeBytes),
    inspect: (name) => images.inspect(name),
    check: (name, work) => images.check(name, work),
    repair: (name, options, work) => images.repair(name, options, work),
    history: (name) => images.history(name),
    usage: (name) => images.usage(name),
    overlays: () => images.overlays(),
    wish: (machine, image, wish, attached) => {
      images.wish(machine, image, wish, attached);
    },
    remove: (name) => images.remove(name),
    checkAttach: (name, mode) => {
      images.checkAttach(name, mode);
    },
    checkIso: (name) => {
      images.checkIso(name);
    },
  };
}

function leasesOf(server: BootServer): Lease[] {
  return server.services.dhcp.leases().map((lease) => {
    const machine = server.parts.machines.byMac(lease.mac)?.name;
    return {
      address: lease.address,
      mac: lease.mac,
      ...(machine === undefined ? {} : { machine }),
      ...(lease.hostName === undefined ? {} : { hostname: lease.hostName }),
      state: lease.active ? 'bound' : 'expired',
      expiresAtMs: lease.expiresAtMs,
    };
  });
}

async function statusOf(server: BootServer, version: string): Promise<Status> {
  const { machines, images } = server.parts;
  const target = await server.services.plane.stats();
  return {
    version,
    pid: process.pid,
    startedAtMs: server.startedAtMs,
    rssBytes: process.memoryUsage.rss(),
    services: servicesOf(server, target),
    sessions: target.sessions.map((s) => sessionOf(server, s)),
    machines: machines.list().length,
    images: images.list().length,
  };
}

function sessionOf(server: BootServer, session: TargetStats['sessions'][number]): SessionStatus {
  const machine = server.parts.machines.byInitiatorName(session.initiatorName)?.name;
  return {
    ...(machine === undefined ? {} : { machine }),
    initiator: session.initiatorName,
    target: session.targetName,
    from: `${session.peer.address}:${session.peer.port}`,
    sinceMs: session.sinceWallMs,
    readBytes: session.traffic.readBytes,
    writtenBytes: session.traffic.writtenBytes,
  };
}

function servicesOf(server: BootServer, target: TargetStats): ServiceStatus[] {
  const { services, networks, options } = server;
  const { config } = options;
  const at = (port: number): string[] => networks.map((n) => `${n.address}:${port}`);
  const dhcp = services.dhcp.status().map((d): ServiceStatus => ({
    name: `dhcp ${d.interface}`,
    state: d.mode === 'off' ? 'off' : 'up',
    listeners: d.mode === 'off' ? [] : [`${d.interface}:67`, `${d.interface}:4011`],
    detail: d.mode,
    counters: d.counters,
  }));
  return [
    ...dhcp,
    {
      name: 'tftp',
      state: 'up',
      listeners: at(config.tftp.port),
      counters: services.tftp.counters(),
    },
    {
      name: 'http',
      state: 'up',
      listeners: at(config.http.port),
      counters: services.http.counters,
    },
    {
      name: 'iscsi',
      state: 'up',
      listeners: at(config.iscsi.port),
      counters: { ...target.counters, ...target.traffic },
    },
    {
      name: 'router advertisement',
      state: services.radv === undefined ? 'off' : 'up',
      listeners: [],
      counters: services.radv?.counters.snapshot() ?? {},
    },
  ];
}
