import type { ScsiTarget } from '#scsi/mod.ts';
import type { FenceReason } from './events.ts';
import type { LoginGrant } from './login-types.ts';
import type { Export } from './policy.ts';
import { afterAll } from './lane.ts';
import type { Session } from './session.ts';

/** What a discovery session has: no unit, and no command gets that far. */
export const NO_LOGICAL_UNITS: ScsiTarget = {
  begin() {},
  finish(command, done) {
    done(command);
  },
  fail() {},
  nexusAdded() {},
  nexusRemoved() {},
  logicalUnitReset: () => false,
  targetReset() {},
  hasLun: () => false,
};

/** A login that waits for older sessions to become quiet. */
type Admission = { cancelled: boolean };

/**
 * One exported target and its sessions. It decides which older sessions a new one replaces:
 *
 * - the same initiator name and ISID: session reinstatement (RFC 7143 §6.3.5), always;
 * - the same initiator name, where the export says `takeover`: iPXE hands its disk over to the
 *   operating system, whose initiator has another ISID; a reset machine comes back as iPXE.
 *
 * The new session exists only after the old ones are fenced: nothing of theirs can reach the disk.
 */
export class Target {
  readonly exported: Export;
  readonly sessions = new Set<Session>();
  readonly #admissions = new Map<string, Admission>();
  #closed = false;

  constructor(exported: Export) {
    this.exported = exported;
  }

  /**
   * Fences what the new session replaces, then calls `admit` (maybe at once). Calls `refuse`
   * instead when an even newer login of the same kind came meanwhile, or the target was removed.
   */
  admit(grant: LoginGrant, admit: () => void, refuse: () => void): void {
    const { takeover } = this.exported.config;
    const key = takeover ? grant.initiatorName : `${grant.initiatorName} ${grant.isid}`;
    const before = this.#admissions.get(key);
    if (before !== undefined) before.cancelled = true;
    const admission: Admission = { cancelled: false };
    this.#admissions.set(key, admission);
    const older = [...this.sessions].filter(
      (s) =>
        s.info.initiatorName === grant.initiatorName && (takeover || s.info.isid === grant.isid),
    );
    const why = (s: Session): FenceReason =>
      s.info.isid === grant.isid ? 'reinstatement' : 'takeover';
    fenceAll(older, why, () => {
      if (this.#admissions.get(key) === admission) this.#admissions.delete(key);
      if (admission.cancelled || this.#closed) refuse();
      else admit();
    });
  }

  /** Fences sessions that match; `quiet` when none of them can reach the disk. */
  drop(match: (session: Session) => boolean, why: FenceReason, quiet: () => void): void {
    fenceAll([...this.sessions].filter(match), () => why, quiet);
  }

  /** No new session, and an end to all: `quiet` when the disk is let go. */
  close(why: FenceReason, quiet: () => void): void {
    this.#closed = true;
    this.drop(() => true, why, quiet);
  }
}

/** Fences every session of a list; calls `quiet` once, after the last. */
export function fenceAll(
  sessions: readonly Session[],
  why: (session: Session) => FenceReason,
  quiet: () => void,
): void {
  const fence = (session: Session, done: () => void): void => {
    session.owner.fence(why(session), done);
  };
  afterAll(sessions, fence, quiet);
}
