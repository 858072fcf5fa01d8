import { invariant } from '#base/mod.ts';
import type { TargetStats } from '#iscsi/mod.ts';

/** The sum of what several threads report; sessions one after another. */
export function addStats(all: readonly TargetStats[]): TargetStats {
  const [first, ...others] = all;
  invariant(first !== undefined, 'stats of at least one thread');
  return others.reduce(
    (sum, more) => ({
      counters: addNumbers(sum.counters, more.counters),
      traffic: addNumbers(sum.traffic, more.traffic),
      sessions: [...sum.sessions, ...more.sessions],
      halfOpen: sum.halfOpen + more.halfOpen,
    }),
    first,
  );
}

function addNumbers<K extends string>(
  a: Readonly<Record<K, number>>,
  b: Readonly<Record<K, number>>,
): Record<K, number> {
  const sum: Record<K, number> = { ...a };
  for (const key in b) sum[key] += b[key];
  return sum;
}
