import {
  type Clock,
  formatIpv4,
  InternalError,
  type Log,
  silentLog,
  systemClock,
} from '#base/mod.ts';
import type { DhcpNetwork } from './config.ts';
import { Exchange } from './exchange.ts';
import { type LeaseLog, LeaseJournal } from './journal.ts';
import { PathStore } from './journal-file.ts';
import { liveRecords, restoreLeases } from './lease-records.ts';
import { type DhcpCounter, NetworkService } from './network-service.ts';
import type { DhcpObserver } from './observer.ts';
import type { DhcpPolicy } from './policy.ts';
import { assertMayServe } from './probe.ts';
import { assertDisjoint, prepareSite, type Site } from './site.ts';
import { SchoolMemory } from './strategy.ts';

/** What the service needs; one service serves all networks. */
export type DhcpServiceOptions = {
  readonly networks: readonly DhcpNetwork[];
  readonly policy: DhcpPolicy;
  readonly observer: DhcpObserver;
  /** The lease journal's file; its folder must exist. Needed when a network is in server mode. */
  readonly journalPath?: string;
  /** Memory of what worked for which machine, kept by the caller between runs. */
  readonly schools?: SchoolMemory;
  readonly clock?: Clock;
  readonly log?: Log;
};

/** A lease as people see it. */
export type LeaseView = {
  readonly address: string;
  readonly mac: string;
  readonly hostName?: string;
  readonly active: boolean;
  /** Wall clock, milliseconds since 1970. */
  readonly expiresAtMs: number;
};

/** Figures of one network. */
export type DhcpStatus = {
  readonly interface: string;
  readonly mode: DhcpNetwork['mode'];
  readonly counters: Readonly<Record<DhcpCounter, number>>;
  readonly subnets: readonly {
    readonly network: string;
    readonly size: number;
    readonly active: number;
    readonly offered: number;
    readonly abandoned: number;
  }[];
  /** Other DHCP servers heard of since the start. */
  readonly foreignServers: readonly string[];
};

type Running = {
  readonly site: Site;
  readonly exchange: Exchange;
  readonly sockets: NetworkService;
};

/** DHCP, proxyDHCP and the PXE boot server port on all configured networks. */
export class DhcpService {
  /** Tell it `fetched(mac)` when a machine fetched its loader. */
  readonly schools: SchoolMemory;
  readonly #running: readonly Running[];
  readonly #journal: LeaseJournal | undefined;
  readonly #clock: Clock;

  private constructor(
    schools: SchoolMemory,
    running: readonly Running[],
    journal: LeaseJournal | undefined,
    clock: Clock,
  ) {
    this.schools = schools;
    this.#running = running;
    this.#journal = journal;
    this.#clock = clock;
  }

  /**
   * Starts on all networks or on none. Before it serves addresses anywhere it asks whether somebody
   * else does (up to 3.5 seconds). Throws UserError for a configuration that cannot work and for a
   * network that has a server, EnvironmentError for ports, rights and the journal.
   */
  static async start(options: DhcpServiceOptions): Promise<DhcpService> {
    const clock = options.clock ?? systemClock;
    const log = (options.log ?? silentLog).child({ service: 'dhcp' });
    const sites = options.networks.map((n) => prepareSite(n, options.policy));
    const serving = sites.filter((s) => s.config.mode === 'server');
    // A proxy gives nothing away: two cards of this host may well be in one network.
    assertDisjoint(serving);
    await Promise.all(serving.map((s) => assertMayServe(s.config)));
    const journal =
      serving.length === 0 ? undefined : await openJournal(options, serving, clock, log);
    const schools = options.schools ?? new SchoolMemory();
    const running: Running[] = [];
    try {
      for (const site of sites) {
        const { policy, observer } = options;
        const exchange = new Exchange({ site, policy, observer, schools, clock });
        const leaseLog = journal ?? NO_LEASES;
        const parts = { site, exchange, leaseLog, observer, clock, log };
        running.push({ site, exchange, sockets: await NetworkService.open(parts) });
      }
    } catch (e) {
      await Promise.all(running.map((r) => r.sockets.close()));
      await journal?.close();
      throw e;
    }
    return new DhcpService(schools, running, journal, clock);
  }

  /** Flushes the journal, sends the ACKs that waited for it, and stops answering. */
  async close(): Promise<void> {
    await this.#journal?.close();
    await Promise.all(this.#running.map((r) => r.sockets.close()));
  }

  /** All leases, with those that have ended and still name their machine. */
  leases(): LeaseView[] {
    const offsetMs = this.#clock.wallMs() - this.#clock.monotonicMs();
    const tables = this.#running.flatMap((r) => r.site.subnets.map((s) => s.table));
    return tables.flatMap((table) =>
      Array.from(table.leases(), (lease) => ({
        address: formatIpv4(lease.address),
        mac: lease.mac,
        ...(lease.hostName === undefined ? {} : { hostName: lease.hostName }),
        active: lease.active,
        expiresAtMs: lease.expiresMs + offsetMs,
      })),
    );
  }

  status(): DhcpStatus[] {
    return this.#running.map(({ site, exchange, sockets }) => ({
      interface: site.config.interface,
      mode: site.config.mode,
      counters: sockets.counters.snapshot(),
      subnets: site.subnets.map((s) => {
        const { size, active, offered, abandoned } = s.table.counts();
        return { network: s.config.network, size, active, offered, abandoned };
      }),
      foreignServers: exchange.foreignServers(),
    }));
  }
}

/** Without a network in server mode no lease is ever granted. */
const NO_LEASES: LeaseLog = {
  append() {
    throw new InternalError('a lease without a server network');
  },
};

async function openJournal(
  options: DhcpServiceOptions,
  sites: readonly Site[],
  clock: Clock,
  log: Log,
): Promise<LeaseJournal> {
  if (options.journalPath === undefined) throw new InternalError('no path for the lease journal');
  const store = new PathStore(options.journalPath);
  const { journal, records } = await LeaseJournal.open(store, clock, log);
  const active = restoreLeases(sites, records, clock);
  log.info({ records: records.length, active }, 'leases restored');
  await journal.start(() => liveRecords(sites, clock));
  return journal;
}
