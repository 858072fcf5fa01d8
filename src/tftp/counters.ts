import { Counters } from '#base/mod.ts';

/** Everything the server counts, by reason. */
export const TFTP_COUNTERS = [
  'requests',
  'started',
  'finished',
  'unacknowledged',
  'probes',
  'failed',
  'sentBlocks',
  'retransmittedBlocks',
  'malformed',
  'writeRefused',
  'badMode',
  'notFound',
  'forbidden',
  'unavailable',
  'busy',
  'duplicateRequests',
  'strayPackets',
  'ignoredPackets',
  'sendBufferFull',
  'sendErrors',
] as const;

export type TftpCounter = (typeof TFTP_COUNTERS)[number];
export type TftpCounters = Counters<TftpCounter>;

/** All counters at zero. */
export function createCounters(): TftpCounters {
  return new Counters<TftpCounter>(TFTP_COUNTERS);
}
