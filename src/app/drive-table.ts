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

type Options = {
  /** Opens the image and adds the target. */
  readonly serve: (drive: DriveExport) => Promise<ServedDrive>;
  /** True while an initiator is logged in to the target. */
  readonly inUse: (iqn: string) => boolean;
};

type Entry = { readonly drive: DriveExport; readonly served: ServedDrive };

/**
 * Keeps the drives that are served equal to the drives that should be. A drive with a running
 * system on it is not pulled away by a change of plans: the change waits until its sessions are
 * gone or its machine starts again.
 */
export class DriveTable {
  readonly #options: Options;
  readonly #entries = new Map<string, Entry>();
  readonly #problems = new Map<string, DriveProblem>();
  #desired: readonly DriveExport[] = [];
  #turn: Promise<void> = Promise.resolve();

  constructor(options: Options) {
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
    await this.#inTurn(() => this.#reconcile(restarting));
    return [...this.#problems.values()];
  }

  /** A session ended: a change that waited for it may go ahead. */
  async sessionEnded(): Promise<void> {
    await this.#inTurn(() => this.#reconcile(undefined));
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

  async #reconcile(restarting: string | undefined): Promise<void> {
    const desired = new Map(this.#desired.map((d) => [d.config.iqn, d]));
    this.#problems.clear();
    // All that goes, goes first: two machines may have exchanged their images.
    for (const [iqn, { drive }] of this.#entries) {
      if (isDeepStrictEqual(drive, desired.get(iqn))) continue;
      if (this.#options.inUse(iqn) && drive.machine !== restarting) continue;
      await this.#remove(iqn);
    }
    for (const [iqn, drive] of desired) {
      if (!this.#entries.has(iqn)) await this.#add(iqn, drive);
    }
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
