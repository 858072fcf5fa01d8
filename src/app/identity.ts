import { createHash } from 'node:crypto';
import type { UnitIdentity } from '#scsi/mod.ts';

/** What INQUIRY shows as the product revision: the version of the program, four characters. */
export const REVISION = '0.1';

/**
 * The identity of a disk, derived from a name that stays the same: an initiator recognises it after
 * a restart, on another portal, or under another machine.
 */
export function unitIdentity(serial: string): UnitIdentity {
  const digest = createHash('sha256').update(`polyboot disk ${serial}`).digest('hex');
  return {
    vendor: 'POLYBOOT',
    product: 'DISK',
    revision: REVISION,
    // Names can be longer than the field and alike in their first letters: the digest tells them
    // apart.
    serial: digest.slice(0, 16).toUpperCase(),
    // NAA 3h, locally assigned (SPC-4 §7.8.6.6.4): 60 bits of our own.
    naa: `3${digest.slice(16, 31)}`,
  };
}
