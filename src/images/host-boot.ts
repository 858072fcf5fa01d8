import { readFileSync } from 'node:fs';

/**
 * Names the present boot of this host: what was never flushed is whole as long as it stays the
 * same.
 */
export function hostBoot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
