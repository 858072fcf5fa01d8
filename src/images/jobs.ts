import { UserError } from '#base/mod.ts';

/**
 * What a piece of work reads and what it changes: "image:NAME", "layer:ID",
 * "overlay:MACHINE:IMAGE".
 */
export type Claims = { readonly change?: readonly string[]; readonly read?: readonly string[] };

/** Work that stands in the way of other work. */
type Job = { readonly what: string; readonly change: Set<string>; readonly read: Set<string> };

/**
 * One change of a chain at a time (hostile case 41): work that changes a thing runs alone on it,
 * work that only reads it runs beside other readers. What does not fit is refused at once, with the
 * words of what is in its way; nothing waits, so nothing can wait for itself.
 */
export class Jobs {
  readonly #running = new Set<Job>();

  /** The things named "KIND:…" that somebody reads just now. */
  readOf(kind: string): string[] {
    return [...this.#running]
      .flatMap((job) => [...job.read])
      .flatMap((claim) => (claim.startsWith(`${kind}:`) ? [claim.slice(kind.length + 1)] : []));
  }

  /** Whether work with these claims could run now. */
  admits(claims: Claims): boolean {
    return this.#inTheWay(jobOf('', claims)) === undefined;
  }

  /** For work that is done at once. Throws UserError conflict `image-busy`. */
  refuseBusy(what: string, claims: Claims): void {
    const other = this.#inTheWay(jobOf(what, claims));
    if (other !== undefined) throw busy(what, other.what);
  }

  /** Runs `work` with its claims held. Throws UserError conflict `image-busy`. */
  async run<T>(what: string, claims: Claims, work: () => T | Promise<T>): Promise<T> {
    this.refuseBusy(what, claims);
    const job = jobOf(what, claims);
    this.#running.add(job);
    try {
      return await work();
    } finally {
      this.#running.delete(job);
    }
  }

  #inTheWay(job: Job): Job | undefined {
    return [...this.#running].find((other) => clash(job, other));
  }
}

function jobOf(what: string, claims: Claims): Job {
  return { what, change: new Set(claims.change), read: new Set(claims.read) };
}

function clash(a: Job, b: Job): boolean {
  return (
    [...a.change].some((claim) => b.change.has(claim) || b.read.has(claim)) ||
    [...a.read].some((claim) => b.change.has(claim))
  );
}

function busy(what: string, other: string): UserError {
  return new UserError('conflict', 'image-busy', {
    what: `${what} is not possible right now`,
    why: `${other} is under way on the same disk`,
    todo: 'wait for that to end, or cancel it, and try again',
  });
}
