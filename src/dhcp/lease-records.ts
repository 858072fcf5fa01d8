import type { Clock } from '#base/mod.ts';
import type { JournalRecord } from './journal-record.ts';
import type { Lease } from './lease.ts';
import { ABANDON_MS } from './offers.ts';
import { type Site, subnetByAddress } from './site.ts';

/**
 * Between the tables, which live on the monotonic clock, and the journal, which must outlive the
 * process and so holds wall-clock times. A wall clock that jumped while we were away can lengthen
 * no lease and no abandonment beyond its full time, and shorten none that was renewed since.
 */

/** The journal's record of a lease. */
export function recordOf(kind: JournalRecord['kind'], lease: Lease, clock: Clock): JournalRecord {
  return {
    kind,
    address: lease.address,
    seconds: lease.seconds,
    expiresWallMs: clock.wallMs() + (lease.expiresMs - clock.monotonicMs()),
    client: lease.client,
    mac: lease.mac,
    hostName: lease.hostName,
  };
}

/** Puts journal records into the tables of the sites; returns how many leases are active. */
export function restoreLeases(
  sites: readonly Site[],
  records: readonly JournalRecord[],
  clock: Clock,
): number {
  const nowMs = clock.monotonicMs();
  const wallMs = clock.wallMs();
  let active = 0;
  for (const record of inOrderOfExpiry(records)) {
    // A subnet that is configured no longer: its leases are nobody's.
    const subnet = subnetByAddress(sites, record.address);
    if (subnet === undefined) continue;
    const leftMs = Math.max(0, record.expiresWallMs - wallMs);
    if (record.kind === 'abandon') {
      const outMs = Math.min(leftMs, ABANDON_MS);
      if (outMs > 0) subnet.table.restoreAbandoned(record.address, nowMs + outMs);
      continue;
    }
    const untilMs = nowMs + Math.min(leftMs, record.seconds * 1000);
    const expiresMs = record.kind === 'release' ? nowMs : untilMs;
    const { address, client, mac, hostName, seconds } = record;
    subnet.table.restore({ address, client, mac, hostName, seconds, expiresMs }, nowMs);
    if (expiresMs > nowMs) active += 1;
  }
  return active;
}

/** The last word on each address and on each client, the earliest expiry first. */
function inOrderOfExpiry(records: readonly JournalRecord[]): JournalRecord[] {
  const byAddress = new Map<number, JournalRecord>();
  const addressOf = new Map<string, number>();
  for (const record of records) {
    if (record.kind === 'lease') {
      const earlier = addressOf.get(record.client);
      const moved = earlier !== undefined && earlier !== record.address;
      // The client has moved on; what it left is free unless another took it since.
      if (moved && byAddress.get(earlier)?.client === record.client) byAddress.delete(earlier);
      addressOf.set(record.client, record.address);
    }
    byAddress.set(record.address, record);
  }
  return [...byAddress.values()].toSorted((a, b) => a.expiresWallMs - b.expiresWallMs);
}

/** All that the tables hold, for a new generation of the journal. */
export function* liveRecords(sites: readonly Site[], clock: Clock): Generator<JournalRecord> {
  for (const { table } of sites.flatMap((s) => s.subnets)) {
    for (const lease of table.leases()) {
      yield recordOf(lease.active ? 'lease' : 'release', lease, clock);
    }
    for (const [address, expiresMs] of table.abandoned()) {
      const nobody = { address, client: '', mac: '', hostName: undefined, seconds: 0 };
      yield recordOf('abandon', { ...nobody, expiresMs }, clock);
    }
  }
}
