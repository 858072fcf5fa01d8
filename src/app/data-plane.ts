import type { Log, LogLevel } from '#base/mod.ts';
import { EnvironmentError, messageOf } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import {
  TargetServer,
  type DetachedConnection,
  type PortalAddress,
  type SessionInfo,
  type TargetEvent,
  type TargetObserver,
  type TargetStats,
} from '#iscsi/mod.ts';
import type { DriveProblem } from './drive-table.ts';
import { DriveHomes } from './drive-homes.ts';
import { addStats } from './plane-stats.ts';
import { PlaneThread, type Unasked } from './plane-thread.ts';

type Options = {
  readonly portals: readonly PortalAddress[];
  /** Threads that serve disks; a disk is served by one of them. */
  readonly threads: number;
  readonly observer: TargetObserver;
  readonly log: Log;
  readonly logLevel: LogLevel;
  /** Where disks keep what must outlive the process. */
  readonly stateFolder: string;
  /** A thread ended by itself: nothing serves its disks any more. */
  readonly onDeath: (error: Error) => void;
};

/**
 * The main thread's handle on the data plane: the iSCSI target with its disks, in threads of their
 * own, so that a busy target never delays a DHCP answer, and a disk that is slow or busy delays
 * none of another thread.
 *
 * All threads listen on the same portals; the kernel spreads the connections. A disk has one home,
 * since its state (reservations, sessions to fence, the tables of a qcow2) is not shared: a login
 * that came in elsewhere moves there with its socket, before it is answered, and nobody notices.
 */
export class DataPlane {
  readonly #threads: readonly PlaneThread[];
  readonly #homes: DriveHomes;
  readonly #options: Options;
  #wanted: readonly DriveExport[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #stopping = false;

  private constructor(options: Options) {
    this.#options = options;
    this.#homes = new DriveHomes(options.threads);
    this.#threads = Array.from(
      { length: options.threads },
      (_, index) =>
        new PlaneThread({
          data: { level: options.logLevel, stateFolder: options.stateFolder },
          onTell: (tell) => {
            this.#told(index, tell);
          },
          onDeath: (error) => {
            options.log.error({ error }, 'the data plane failed');
            options.onDeath(error);
          },
        }),
    );
  }

  /** Starts the threads and listens on all portals or none. Throws EnvironmentError. */
  static async start(options: Options): Promise<DataPlane> {
    const plane = new DataPlane(options);
    try {
      await plane.#listen(options.portals);
      return plane;
    } catch (e) {
      await Promise.all(plane.#threads.map((t) => t.terminate()));
      throw e;
    }
  }

  /** Makes these the drives that are served; see `DriveTable.sync`. */
  sync(drives: readonly DriveExport[], restarting?: string): Promise<readonly DriveProblem[]> {
    this.#wanted = drives;
    return this.#inTurn(() => this.#sync(restarting));
  }

  /** Counters and sessions, as of now. */
  async stats(): Promise<TargetStats> {
    const all = await Promise.all(this.#threads.map((t) => t.call('stats', {})));
    return addStats(
      all.map((stats, index) => ({
        ...stats,
        sessions: stats.sessions.map((s) => ({ ...s, id: this.#globalId(index, s.id) })),
      })),
    );
  }

  /** Makes a served drive larger and tells its initiators. Rejects with EnvironmentError. */
  async grow(iqn: string, sizeBytes: number): Promise<void> {
    await this.#thread(this.#homes.of(iqn)).call('grow', { iqn, sizeBytes });
  }

  /**
   * Runs `work` while the commands of whoever uses the drive wait and nothing has its image open;
   * then `drive` says what is served in its place. Without anybody logged in, `work` just runs, and
   * the next `sync` does the rest. Rejects with what `work` threw, or EnvironmentError.
   */
  hold<T>(iqn: string, work: () => Promise<T>, drive: () => DriveExport): Promise<T> {
    return this.#inTurn(async () => {
      const thread = this.#thread(this.#homes.of(iqn));
      const held = await thread.call('hold', { iqn });
      if (!held) return await work();
      try {
        return await work();
      } finally {
        await thread.call('resume', { drive: drive() });
      }
    });
  }

  /**
   * Asks initiators to log out, flushes and closes every image, ends the threads. Rejects when one
   * could not, after all the others have.
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    const ends = this.#threads.map(async (thread) => {
      try {
        await thread.call('stop', {});
      } finally {
        await thread.terminate();
      }
    });
    await Promise.allSettled(ends);
    await Promise.all(ends);
  }

  async #listen(portals: readonly PortalAddress[]): Promise<void> {
    const shared = this.#threads.length > 1;
    const chosen = shared ? await freePortals(portals) : portals;
    await Promise.all(this.#threads.map((t) => t.call('start', { portals: chosen, shared })));
  }

  /**
   * In two steps, because an image may move between machines whose drives are in different threads:
   * all that goes, goes first.
   */
  async #sync(restarting: string | undefined): Promise<readonly DriveProblem[]> {
    // A script that is asked for while we stop must not open a disk again.
    if (this.#stopping) {
      throw new EnvironmentError('stopping', { what: 'the server is being stopped' });
    }
    const perThread = this.#homes.assign(this.#wanted);
    const more = restarting === undefined ? {} : { restarting };
    if (this.#threads.length > 1) {
      await Promise.all(
        this.#threads.map((t, n) => t.call('release', { drives: perThread[n] ?? [], ...more })),
      );
    }
    const problems = await Promise.all(
      this.#threads.map((thread, n) => {
        const distant = this.#homes.distantFrom(n, this.#wanted);
        return thread.call('sync', { drives: perThread[n] ?? [], distant, ...more });
      }),
    );
    return problems.flat();
  }

  /** One change at a time, each seeing the newest wish. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #thread(index: number): PlaneThread {
    return this.#threads[index] as PlaneThread;
  }

  #globalId(index: number, id: number): number {
    return id * this.#threads.length + index;
  }

  #told(index: number, tell: Unasked): void {
    switch (tell.kind) {
      case 'event':
        this.#options.observer.event(this.#withGlobalId(index, tell.event));
        return;
      case 'handover':
        this.#handOver(tell.home, tell.connection);
        return;
      case 'released':
        if (this.#stopping) return;
        this.#inTurn(() => this.#sync(undefined)).catch((e: unknown) => {
          this.#options.log.error({ why: messageOf(e) }, 'drives could not be brought up to date');
        });
    }
  }

  #handOver(home: number, connection: DetachedConnection): void {
    this.#thread(home)
      .call('takeOver', connection)
      .catch((e: unknown) => {
        this.#options.log.error({ why: messageOf(e) }, 'a connection got lost between threads');
      });
  }

  /** Sessions are numbered by each thread; outside a number means one session of the server. */
  #withGlobalId(index: number, event: TargetEvent): TargetEvent {
    if (!('session' in event)) return event;
    const session: SessionInfo = { ...event.session, id: this.#globalId(index, event.session.id) };
    return { ...event, session };
  }
}

/**
 * The portals, with ports chosen where none were named. A port that threads share can be shared
 * with another program too: so they are taken once without sharing. Throws EnvironmentError.
 */
export async function freePortals(
  portals: readonly PortalAddress[],
): Promise<readonly PortalAddress[]> {
  const probe = new TargetServer();
  try {
    return await probe.listen(portals);
  } finally {
    await probe.close();
  }
}
