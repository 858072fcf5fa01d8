import type { Explanation } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import type { PortalAddress, TargetEvent, TargetStats } from '#iscsi/mod.ts';
import type { DriveProblem } from './drive-table.ts';

/** What the main thread asks of the data-plane worker, and what it gets back. Plain data only. */
export type DataPlaneCalls = {
  start: { ask: { portals: readonly PortalAddress[] }; answer: readonly PortalAddress[] };
  sync: {
    ask: { drives: readonly DriveExport[]; restarting?: string };
    answer: readonly DriveProblem[];
  };
  stats: { ask: Record<string, never>; answer: TargetStats };
  stop: { ask: Record<string, never>; answer: null };
};

export type CallName = keyof DataPlaneCalls;

/** An error on its way between threads: classes do not survive the journey. */
export type PostedError = { readonly code: string; readonly explanation: Explanation };

/** Worker → main thread. */
export type Tell =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: PostedError }
  | { readonly kind: 'event'; readonly event: TargetEvent };
