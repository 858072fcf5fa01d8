import type { Destination } from './deliver.ts';
import type { JournalRecord } from './journal-record.ts';
import type { Lease } from './lease.ts';
import type { DhcpEvent, DropReason } from './observer.ts';
import type { SubnetSite } from './site.ts';

/** One datagram to send. */
export type Send = {
  readonly bytes: Buffer;
  readonly to: Destination;
  /** Milliseconds to wait first, for ROMs that miss an early answer. */
  readonly delayMs: number;
};

/** A lease on its way to the disk, with the ACK that waits for it. */
export type PendingLease = {
  readonly subnet: SubnetSite;
  readonly lease: Lease;
  readonly record: JournalRecord;
  readonly ack: Send;
  readonly event: DhcpEvent;
};

/** Who sent a request. */
export type Sender = { readonly mac: string; readonly xid: number; readonly relay?: string };

/** What one datagram leads to. */
export type Outcome =
  | {
      readonly kind: 'drop';
      readonly reason: DropReason;
      readonly detail?: string;
      /** Whose it was; absent when the packet could not be read so far. */
      readonly who?: Sender;
    }
  | { readonly kind: 'send'; readonly send: Send }
  | { readonly kind: 'commit'; readonly pending: PendingLease }
  /** Nothing to send; something to remember. */
  | { readonly kind: 'record'; readonly record: JournalRecord };

/** A dropped datagram. */
export function drop(reason: DropReason, detail?: string): Outcome {
  return detail === undefined ? { kind: 'drop', reason } : { kind: 'drop', reason, detail };
}
