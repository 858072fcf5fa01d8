import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Counters, InternalError, UserError, silentLog, systemClock } from '#base/mod.ts';
import type { Cancel, Clock, Log } from '#base/mod.ts';
import type { Nexus, ScsiTarget } from '#scsi/mod.ts';
import { Admission, ROOM_NEEDED } from './admission.ts';
import { Connection } from './connection.ts';
import type { ConnectionHost } from './connection-host.ts';
import { closeDescriptor } from '#os/mod.ts';
import { DataPlane } from './data-plane.ts';
import { SERVER_COUNTERS, silentObserver } from './events.ts';
import type { ServerCounter, SessionInfo, TargetObserver, TargetStats, Traffic } from './events.ts';
import { ExportPolicy } from './export-policy.ts';
import { DEFAULT_OFFER } from './keys.ts';
import type { NegotiationOffer } from './keys.ts';
import { LOGOUT_GRACE_MS, SWEEP_MS } from './limits.ts';
import { formatPortal, normalizeIscsiName } from './names.ts';
import type { Transport } from './output.ts';
import type { DistantExport, ExportConfig, PortalAddress, TargetPolicy } from './policy.ts';
import { portalError } from './portal-error.ts';
import { RefusalLog } from './refusal-log.ts';
import type { Session } from './session.ts';
import { SocketTransport, plainAddress } from './socket-transport.ts';
import { Target, fenceAll } from './target.ts';
import { addTraffic, noTraffic } from './traffic.ts';

/** What a `TargetServer` can be given; everything has a default. */
export type TargetServerOptions = {
  readonly log?: Log;
  readonly clock?: Clock;
  readonly observer?: TargetObserver;
  /** Decides on logins instead of the exports' own access lists. */
  readonly policy?: TargetPolicy;
  readonly offer?: Partial<NegotiationOffer>;
  readonly random?: (bytes: number) => Uint8Array;
  /** Gives a connection to the thread `home`, which calls `takeOver`; see `setDistant`. */
  readonly giveAway?: (home: number, connection: DetachedConnection) => void;
};

/** A connection between two threads: its socket, and the login request that was read from it. */
export type DetachedConnection = { readonly fd: number; readonly login: Uint8Array };

/** Which sessions are meant; all given fields must match. */
export type SessionFilter = {
  readonly id?: number;
  readonly initiatorName?: string;
  readonly targetName?: string;
};

const TSIH_MAX = 0xffff;

/** An iSCSI target node: portals, exports, sessions. All on the thread that made it. */
export class TargetServer implements ConnectionHost {
  readonly plane = new DataPlane();
  readonly clock: Clock;
  readonly log: Log;
  readonly observer: TargetObserver;
  readonly counters = new Counters<ServerCounter>(SERVER_COUNTERS);
  readonly policy: TargetPolicy;
  readonly offer: NegotiationOffer;
  readonly random: (bytes: number) => Uint8Array;
  readonly #exports = new ExportPolicy();
  readonly #giveAway: TargetServerOptions['giveAway'];
  readonly #sockets = new Map<Connection, SocketTransport>();
  readonly #targets = new Map<string, Target>();
  readonly #listeners: Server[] = [];
  readonly #portals: PortalAddress[] = [];
  readonly #halfOpen = new Set<Connection>();
  readonly #admission = new Admission<Connection>();
  readonly #refusals: RefusalLog;
  readonly #open = new Map<Connection, SessionInfo['kind']>();
  readonly #sessions = new Map<number, Session>();
  readonly #past: Traffic = noTraffic();
  #lastId = 0;
  #lastTsih = 0;
  #closing: Promise<void> | null = null;
  #ended: (() => void) | null = null;
  #cancelSweep: Cancel = () => {};

  constructor(options: TargetServerOptions = {}) {
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? silentLog;
    this.#refusals = new RefusalLog(this.log);
    this.observer = options.observer ?? silentObserver;
    this.policy = options.policy ?? this.#exports;
    this.offer = { ...DEFAULT_OFFER, ...options.offer };
    this.random = options.random ?? randomBytes;
    this.#giveAway = options.giveAway;
    this.#armSweep();
  }

  /**
   * Listens on every portal (port 0: any free one) and returns where. Throws `EnvironmentError`
   * when one of them cannot be had; none stays open then. With `reusePort` several threads share a
   * portal, and the kernel spreads the connections over them.
   */
  async listen(
    portals: readonly PortalAddress[],
    options: { readonly reusePort?: boolean } = {},
  ): Promise<PortalAddress[]> {
    const opened: PortalAddress[] = [];
    for (const portal of portals) {
      try {
        opened.push(await this.#listenOn(portal, options.reusePort ?? false));
      } catch (e) {
        for (const listener of this.#listeners.splice(-opened.length, opened.length)) {
          listener.close();
        }
        throw portalError(portal, e);
      }
    }
    this.#portals.push(...opened);
    return opened;
  }

  /** Throws `UserError` for a name or credentials that cannot work, and for a name in use. */
  addExport(config: ExportConfig, scsi: ScsiTarget): void {
    const kept = this.#exports.add(config);
    this.#targets.set(kept.iqn, new Target({ config: kept, scsi }));
  }

  /** The targets that other threads of this server have: logins to them are given away. */
  setDistant(exports: readonly DistantExport[]): void {
    this.#exports.setDistant(exports);
  }

  /** A connection that another thread gave away: it goes on here. */
  takeOver({ fd, login }: DetachedConnection): void {
    if (this.#closing !== null) {
      closeDescriptor(fd);
      return;
    }
    const connection = this.#start(new SocketTransport(fd, this.plane.receiveBuffer, this.clock));
    const bytes = Uint8Array.from(login);
    connection.received(bytes, new DataView(bytes.buffer), 0, bytes.length);
  }

  /** Ends every session of the target; resolves when nothing can reach its units any more. */
  removeExport(iqn: string): Promise<void> {
    const name = normalizeIscsiName(iqn) ?? iqn;
    const target = this.#targets.get(name);
    if (target === undefined) {
      throw new UserError('not-found', 'no-target', { what: `there is no target ${iqn}` });
    }
    this.#exports.remove(name);
    this.#targets.delete(name);
    return new Promise((resolve) => {
      target.close('target-removed', resolve);
    });
  }

  /** Ends sessions; resolves with their number when they are quiet. Initiators may come again. */
  async dropSessions(filter: SessionFilter): Promise<number> {
    const chosen = [...this.#sessions.values()].filter((s) => matches(s, filter));
    await new Promise<void>((resolve) => {
      fenceAll(chosen, () => 'dropped', resolve);
    });
    return chosen.length;
  }

  /**
   * Ends the commands of a nexus on one of its units, as PREEMPT AND ABORT asks (SPC-4
   * §5.13.11.2.7). `quiet` is called when none of them can reach the unit any more. False: it had
   * none.
   */
  abortTasksOf(nexus: Nexus, lun: number, quiet: () => void = () => {}): boolean {
    for (const session of this.#sessions.values()) {
      if (session.nexus === nexus) return session.owner.abortTasks(lun, quiet);
    }
    quiet();
    return false;
  }

  /** Counters, traffic and sessions at this moment. */
  stats(): TargetStats {
    const traffic = { ...this.#past };
    for (const session of this.#sessions.values()) addTraffic(traffic, session.traffic);
    return {
      counters: this.counters.snapshot(),
      traffic,
      sessions: [...this.#sessions.values()].map((s) => ({ ...s.info, traffic: { ...s.traffic } })),
      halfOpen: this.#halfOpen.size,
    };
  }

  /**
   * Stops: no new connections, initiators are asked to log out, and after a second the rest is cut.
   * Resolves when nothing can reach any unit any more. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelSweep();
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#halfOpen) connection.lost('the server stops');
    const sessions = [...this.#sessions.values()];
    for (const session of sessions) {
      // iPXE knows no asynchronous message and drops the connection over one.
      if (!session.info.firmware) session.owner.requestLogout();
    }
    if (sessions.some((s) => !s.info.firmware)) await this.#sessionsGone();
    await new Promise<void>((resolve) => {
      fenceAll([...this.#sessions.values()], () => 'dropped', resolve);
    });
    this.plane.close();
  }

  #sessionsGone(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.clock.after(LOGOUT_GRACE_MS, resolve);
      this.#ended = () => {
        if ([...this.#sessions.values()].some((s) => !s.info.firmware)) return;
        cancel();
        resolve();
      };
      this.#ended();
    });
  }

  // ConnectionHost.

  target(name: string): Target | undefined {
    return this.#targets.get(name);
  }

  sessionExists(tsih: number): boolean {
    for (const session of this.#sessions.values()) if (session.info.tsih === tsih) return true;
    return false;
  }

  newSession(): { id: number; tsih: number } {
    this.#lastId += 1;
    do {
      this.#lastTsih = (this.#lastTsih % TSIH_MAX) + 1;
    } while (this.sessionExists(this.#lastTsih));
    return { id: this.#lastId, tsih: this.#lastTsih };
  }

  addresses(portal: PortalAddress): readonly string[] {
    const wildcard = (p: PortalAddress): boolean => p.address === '0.0.0.0' || p.address === '::';
    const shown = this.#portals.map((p) => (wildcard(p) ? { ...p, address: portal.address } : p));
    return [...new Set(shown.map((p) => `${formatPortal(p)},1`))];
  }

  discoveryRefusalFor(connection: Connection): string | null {
    return this.#admission.discoveryRefusalFor(connection);
  }

  turnedAway(connection: Connection, reason: string): void {
    if (reason === ROOM_NEEDED) this.counters.inc('connections-evicted');
    this.#refusals.note(reason, connection.peer.address, this.clock.monotonicMs());
  }

  handOver(connection: Connection, home: number, login: Uint8Array): void {
    const transport = this.#sockets.get(connection);
    if (transport === undefined || this.#giveAway === undefined) {
      throw new InternalError('a connection that nobody can take was given away');
    }
    this.counters.inc('connections-handed-over');
    const fd = transport.detach();
    try {
      this.#giveAway(home, { fd, login });
    } catch (e) {
      closeDescriptor(fd);
      throw e;
    }
  }

  opened(connection: Connection, session: Session): void {
    this.#halfOpen.delete(connection);
    this.#open.set(connection, session.info.kind);
    this.#admission.loggedIn(connection, session.info.kind);
    this.#sessions.set(session.info.id, session);
  }

  closed(connection: Connection): void {
    this.#halfOpen.delete(connection);
    const kind = this.#open.get(connection);
    if (kind === undefined) return;
    this.#open.delete(connection);
    this.#admission.loggedOut(connection, kind);
  }

  sessionEnded(session: Session): void {
    this.#sessions.delete(session.info.id);
    addTraffic(this.#past, session.traffic);
    this.#ended?.();
  }

  // Listening.

  #listenOn(portal: PortalAddress, reusePort: boolean): Promise<PortalAddress> {
    const listener = createServer({ pauseOnConnect: true }, (socket) => {
      this.#accept(socket);
    });
    return new Promise((resolve, reject) => {
      listener.once('error', reject);
      listener.listen({ host: portal.address, port: portal.port, reusePort }, () => {
        listener.off('error', reject);
        listener.on('error', (e) => {
          this.log.error({ error: e, portal: formatPortal(portal) }, 'listener failed');
        });
        this.#listeners.push(listener);
        const { address, port } = listener.address() as AddressInfo;
        resolve({ address, port });
      });
    });
  }

  #accept(socket: Socket): void {
    this.counters.inc('connections');
    const address = plainAddress(socket.remoteAddress);
    if (this.#closing !== null) {
      socket.destroy();
      return;
    }
    const refusal = this.#admission.refusalFor(address);
    if (refusal !== null) {
      this.counters.inc('connections-refused');
      this.#refusals.note(refusal, address, this.clock.monotonicMs());
      socket.destroy();
      return;
    }
    this.#start(new SocketTransport(socket, this.plane.receiveBuffer, this.clock));
  }

  #start(transport: SocketTransport): Connection {
    const connection = this.connect(transport, transport);
    this.#admission.entered(connection);
    this.#sockets.set(connection, transport);
    transport.start(connection, () => {
      this.#admission.left(connection);
      this.#sockets.delete(connection);
    });
    return connection;
  }

  /**
   * A new connection over any transport; the caller feeds it with `received`, `sent` and `lost`.
   */
  connect(
    transport: Transport,
    ends: { readonly peer: PortalAddress; readonly portal: PortalAddress },
  ): Connection {
    const connection = new Connection(this, transport, ends);
    this.#halfOpen.add(connection);
    return connection;
  }

  #armSweep(): void {
    this.#cancelSweep = this.clock.after(SWEEP_MS, () => {
      const nowMs = this.clock.monotonicMs();
      for (const connection of [...this.#halfOpen, ...this.#open.keys()]) connection.sweep(nowMs);
      this.#refusals.sweep(nowMs);
      if (this.#closing === null) this.#armSweep();
    });
  }
}

function matches(session: Session, filter: SessionFilter): boolean {
  const { info } = session;
  return (
    (filter.id === undefined || filter.id === info.id) &&
    (filter.initiatorName === undefined || filter.initiatorName === info.initiatorName) &&
    (filter.targetName === undefined || filter.targetName === info.targetName)
  );
}
