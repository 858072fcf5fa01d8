import { invariant } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import type { DistantExport } from '#iscsi/mod.ts';

/**
 * Which thread serves which drive. A drive stays where it is for as long as it is wanted; a new one
 * goes to the thread with the fewest.
 */
export class DriveHomes {
  readonly #threads: number;
  readonly #homes = new Map<string, number>();

  constructor(threads: number) {
    invariant(threads > 0, 'at least one thread');
    this.#threads = threads;
  }

  /** The thread of a drive; of one that nobody has, the first. */
  of(iqn: string): number {
    return this.#homes.get(iqn) ?? 0;
  }

  /** Gives every drive a home; the result has the drives of each thread. */
  assign(drives: readonly DriveExport[]): readonly (readonly DriveExport[])[] {
    const wanted = new Set(drives.map((d) => d.config.iqn));
    for (const iqn of this.#homes.keys()) if (!wanted.has(iqn)) this.#homes.delete(iqn);
    const counts = Array.from({ length: this.#threads }, () => 0);
    for (const home of this.#homes.values()) counts[home] = (counts[home] ?? 0) + 1;
    const result: DriveExport[][] = counts.map(() => []);
    for (const drive of drives) {
      const { iqn } = drive.config;
      let home = this.#homes.get(iqn);
      if (home === undefined) {
        home = counts.indexOf(Math.min(...counts));
        counts[home] = (counts[home] ?? 0) + 1;
        this.#homes.set(iqn, home);
      }
      result[home]?.push(drive);
    }
    return result;
  }

  /** The drives that other threads than `thread` have, as its logins must know them. */
  distantFrom(thread: number, drives: readonly DriveExport[]): DistantExport[] {
    return drives.flatMap(({ config }) => {
      const home = this.of(config.iqn);
      return home === thread ? [] : [{ iqn: config.iqn, access: config.access, home }];
    });
  }
}
