import type { BootPlan, Drive } from '#api/mod.ts';

/** A plan in a few words. */
export function planWords(plan: BootPlan): string {
  switch (plan.kind) {
    case 'san':
      return 'drives';
    case 'kernel':
      return `kernel ${plan.kernel}`;
    case 'floppy':
      return `floppy ${plan.file}`;
    case 'iso':
      return `ISO ${plan.image}`;
    case 'local':
      return 'local disk';
    case 'menu':
      return 'menu';
    case 'script':
      return 'own script';
  }
}

/** Drives in a few words, in order. */
export function driveWords(drives: readonly Drive[]): string {
  return drives
    .map(({ image, mode }) => (mode === 'exclusive' ? image : `${image}:${mode}`))
    .join(', ');
}

/** "3 s ago", "12 min ago", "5 h ago", "9 d ago". */
export function ago(atMs: number | undefined, nowMs: number): string {
  if (atMs === undefined) return 'never';
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** A wall-clock time as ISO 8601 in UTC, to the second. */
export function isoTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z');
}
