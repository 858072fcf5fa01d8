import { readFileSync, statSync } from 'node:fs';

/**
 * Who holds a lock on the file, as "polyboot (process 1234)", by /proc/locks (proc_locks(5));
 * undefined when that cannot be told. For messages only.
 */
export function lockHolder(path: string): string | undefined {
  try {
    const inode = statSync(path).ino;
    const line = readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .find((entry) => entry.includes(`:${inode} `));
    const pid = line?.trim().split(/\s+/)[4];
    if (pid === undefined || !/^\d+$/.test(pid)) return undefined;
    return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (process ${pid})`;
  } catch {
    return undefined;
  }
}
