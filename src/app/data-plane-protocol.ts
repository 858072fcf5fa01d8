import type { Explanation } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import type {
  DetachedConnection,
  DistantExport,
  PortalAddress,
  TargetEvent,
  TargetStats,
} from '#iscsi/mod.ts';
import type { DriveProblem } from './drive-table.ts';

/** What a data-plane thread is told when it is made. */
export type PlaneThreadData = {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Where disks keep what must outlive the process. */
  readonly stateFolder: string;
};

/** What the main thread asks of a data-plane thread, and what it gets back. Plain data only. */
export type DataPlaneCalls = {
  start: {
    /** `shared`: other threads listen on the same portals. */
    ask: { portals: readonly PortalAddress[]; shared: boolean };
    answer: readonly PortalAddress[];
  };
  /** Lets go of what is not in `drives`, as far as nobody uses it, and takes nothing new. */
  release: { ask: { drives: readonly DriveExport[]; restarting?: string }; answer: null };
  sync: {
    ask: { drives: readonly DriveExport[]; distant: readonly DistantExport[]; restarting?: string };
    answer: readonly DriveProblem[];
  };
  stats: { ask: Record<string, never>; answer: TargetStats };
  /** A connection whose target is here. */
  takeOver: { ask: DetachedConnection; answer: null };
  /** Makes a drive that is being served larger, and tells its initiators. */
  grow: { ask: { iqn: string; sizeBytes: number }; answer: null };
  /**
   * Lets the commands on a drive in use wait and closes its image; false: nobody is logged in.
   * `resume` follows, with what takes its place.
   */
  hold: { ask: { iqn: string }; answer: boolean };
  resume: { ask: { drive: DriveExport }; answer: null };
  stop: { ask: Record<string, never>; answer: null };
};

export type CallName = keyof DataPlaneCalls;

/** An error on its way between threads: classes do not survive the journey. */
export type PostedError = { readonly code: string; readonly explanation: Explanation };

/** Data-plane thread → main thread. */
export type Tell =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: PostedError }
  | { readonly kind: 'event'; readonly event: TargetEvent }
  /** A connection came in here and its target is in the thread `home`. */
  | { readonly kind: 'handover'; readonly home: number; readonly connection: DetachedConnection }
  /** A drive that was in use is gone now: another thread may be waiting for its image. */
  | { readonly kind: 'released' };
