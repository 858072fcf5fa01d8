import type { Workload } from './load-job.ts';

/** One line of the race; `goals` are ours/tgt. */
export type Row = {
  readonly name: string;
  readonly workload: Workload;
  readonly sessions: number;
  /** Ours/tgt in operations per second; and our processor time per operation, in microseconds. */
  readonly goals: { readonly final?: number; readonly cpuGoal?: number };
};

const KIB = 1024;
const MIB = 1024 * 1024;

function row(
  workload: Omit<Workload, 'digests'> & { readonly digests?: boolean },
  sessions: number,
  goals: Row['goals'],
): Row {
  const { operation, blockBytes, pattern, queueDepth } = workload;
  const size = blockBytes >= MIB ? `${blockBytes / MIB} MiB` : `${blockBytes / KIB} KiB`;
  const digests = workload.digests === true ? ' digests' : '';
  return {
    name: `${size} ${pattern} ${operation} QD${queueDepth} ×${sessions}${digests}`,
    workload: { ...workload, digests: workload.digests ?? false },
    sessions,
    goals,
  };
}

const random = (operation: 'read' | 'write', queueDepth: number): Omit<Workload, 'digests'> => ({
  operation,
  blockBytes: 4 * KIB,
  queueDepth,
  pattern: 'random',
});
const sequential = (
  operation: 'read' | 'write',
  blockBytes: number,
  queueDepth: number,
): Omit<Workload, 'digests'> => ({ operation, blockBytes, queueDepth, pattern: 'sequential' });

/** The table of the race: every workload that has a goal. */
export const ROWS: readonly Row[] = [
  // 0.4 s of processor time per 100,000 reads.
  row(random('read', 32), 1, { final: 7, cpuGoal: 4 }),
  row(random('read', 32), 4, { final: 10 }),
  row(random('read', 32), 16, { final: 10 }),
  row(random('read', 32), 64, { final: 10 }),
  row(random('write', 32), 1, { final: 6 }),
  row(random('write', 32), 4, { final: 7 }),
  row(random('write', 32), 16, { final: 6 }),
  row(random('read', 1), 1, { final: 1.3 }),
  row(random('read', 1), 16, { final: 1.8 }),
  row(random('write', 1), 1, { final: 1.3 }),
  row(random('write', 1), 16, { final: 1.8 }),
  row(sequential('read', 64 * KIB, 8), 1, { final: 2 }),
  row(sequential('write', 64 * KIB, 8), 1, { final: 3 }),
  row(sequential('read', 64 * KIB, 8), 4, { final: 1.3 }),
  row(sequential('write', 64 * KIB, 8), 4, { final: 1.8 }),
  row(sequential('read', MIB, 4), 1, { final: 1.8 }),
  row(sequential('write', MIB, 4), 1, { final: 3 }),
  row(sequential('read', MIB, 4), 4, { final: 1.6 }),
  row(sequential('write', MIB, 4), 4, { final: 1.7 }),
  row({ ...sequential('read', 64 * KIB, 8), digests: true }, 1, { final: 1 }),
];
