import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';

/** One drive being served: its image is open and its target is known. */
export interface ServedDrive {
  /** Takes the target away (its sessions are fenced) and lets go of the image. */
  close(): Promise<void>;
}

/** A drive that should be served and is not, with the reason in words. */
export type DriveProblem = { readonly iqn: string; readonly machine: string; readonly why: string };

type Options<S extends ServedDrive> = {
  /** Opens the image and adds the target. */
  readonly serve: (drive: DriveExport) => Promise<S>;
  /** True while an initiator is logged in to the target. */
  readonly inUse: (iqn: string) => boolean;
};

type Entry<S> = { readonly drive: DriveExport; readonly served: S };

/**
 * Keeps the drives that are served equal to the drives that should be. A drive with a running
 * system on it is not pulled away by a change of plans: the change waits until its sessions are
 * gone or its machine starts again.
 */
export class DriveTable<S extends ServedDrive = ServedDrive> {
  readonly #options: Options<S>;
  readonly #entries = new Map<string, Entry<S>>();
  readonly #problems = new Map<string, DriveProblem>();
  #desired: readonly DriveExport[] = [];
  #turn: Promise<void> = Promise.resolve();

  constructor(options: Options<S>) {
    this.#options = options;
  }

  /**
   * Makes `desired` true. `restarting` names a machine that is starting again: what it had is taken
   * away even though its old sessions look alive. Resolves when done, to what could not be served.
   */
  async sync(
    desired: readonly DriveExport[],
    restarting?: string,
  ): Promise<readonly DriveProblem[]> {
    this.#desired = desired;
    await this.#inTurn(async () => {
      await this.#reconcile(restarting);
    });
    return [...this.#problems.values()];
  }

  /** Lets go of what is not in `drives`, as `sync` would, and takes nothing new. */
  async release(drives: readonly DriveExport[], restarting?: string): Promise<void> {
    await this.#inTurn(async () => {
      await this.#letGo(drives, restarting);
    });
  }

  /**
   * A session ended: a change that waited for it may go ahead. Resolves to true when a drive went
   * with it.
   */
  async sessionEnded(): Promise<boolean> {
    let released = false;
    await this.#inTurn(async () => {
      released = await this.#reconcile(undefined);
    });
    return released;
  }

  /** Takes a drive away that cannot go on; the next `sync` serves it again if it should be. */
  async drop(iqn: string): Promise<void> {
    await this.#inTurn(() => this.#remove(iqn));
  }

  /** What serves this drive's target serves this drive from now on. */
  resumed(drive: DriveExport): void {
    const entry = this.#entries.get(drive.config.iqn);
    if (entry !== undefined) this.#entries.set(drive.config.iqn, { ...entry, drive });
  }

  /** What serves a drive now. */
  served(iqn: string): S | undefined {
    return this.#entries.get(iqn)?.served;
  }

  /** Takes every drive away. */
  async close(): Promise<void> {
    await this.sync([]);
    await this.#inTurn(async () => {
      for (const iqn of this.#entries.keys()) await this.#remove(iqn);
    });
  }

  /** One reconciliation at a time, each seeing the newest wish. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Resolves to true when a drive was taken away. */
  async #reconcile(restarting: string | undefined): Promise<boolean> {
    this.#problems.clear();
    // All that goes, goes first: two machines may have exchanged their images.
    const released = await this.#letGo(this.#desired, restarting);
    for (const drive of this.#desired) {
      if (!this.#entries.has(drive.config.iqn)) await this.#add(drive.config.iqn, drive);
    }
    return released;
  }

  async #letGo(wanted: readonly DriveExport[], restarting: string | undefined): Promise<boolean> {
    const byIqn = new Map(wanted.map((d) => [d.config.iqn, d]));
    let released = false;
    for (const [iqn, { drive }] of this.#entries) {
      if (isDeepStrictEqual(drive, byIqn.get(iqn))) continue;
      if (this.#options.inUse(iqn) && drive.machine !== restarting) continue;
      await this.#remove(iqn);
      released = true;
    }
    return released;
  }

  async #add(iqn: string, drive: DriveExport): Promise<void> {
    try {
      this.#entries.set(iqn, { drive, served: await this.#options.serve(drive) });
    } catch (e) {
      this.#problems.set(iqn, { iqn, machine: drive.machine, why: messageOf(e) });
    }
  }

  async #remove(iqn: string): Promise<void> {
    const entry = this.#entries.get(iqn);
    this.#entries.delete(iqn);
    await entry?.served.close();
  }
}
