import type { TftpOption } from './packet.ts';

/** RFC 1350: the block of a transfer without options. */
export const DEFAULT_BLOCK_BYTES = 512;
/** RFC 2348 §2. */
const BLOCK_MIN_BYTES = 8;
const BLOCK_MAX_BYTES = 65_464;
/** 64 datagrams are what one segmented send takes; the gain beyond is small, the burst is not. */
const WINDOW_MAX_BLOCKS = 64;
/** Bounds the memory of one transfer with jumbo frames: a window is at most this many bytes. */
const WINDOW_MAX_BYTES = 256 * 1024;
/** RFC 2349 §2. */
const TIMEOUT_MAX_S = 255;

/** What server and client agreed on. */
export type Agreement = {
  readonly blockBytes: number;
  readonly windowBlocks: number;
  /** The retransmission time-out that the client asked for, or undefined. */
  readonly timeoutMs: number | undefined;
  /** The client asked for the size. */
  readonly askedSize: boolean;
  /** What the OACK says; empty: no OACK, data at once. */
  readonly answer: readonly TftpOption[];
};

/** What limits the agreement. */
export type OptionLimits = {
  /** Largest block that travels unfragmented: MTU − 32 (IPv4) or − 52 (IPv6). */
  readonly blockMaxBytes: number;
  /** Options to behave as if they were never sent, for clients that ask and misbehave. */
  readonly ignore?: readonly string[];
};

/**
 * Answers the options of a read request (RFC 2347): only what was asked for, equal or lower; what
 * is unknown or out of range is left out, as if the server did not know it. Of duplicates the
 * first counts.
 */
export function negotiate(
  options: readonly TftpOption[],
  sizeBytes: number,
  limits: OptionLimits,
): Agreement {
  const asked = new Map(options.toReversed());
  for (const name of limits.ignore ?? []) asked.delete(name);
  const answer: TftpOption[] = [];
  const take = (name: string, least: number, most: number): number | undefined => {
    const value = numberOf(asked.get(name));
    if (value === undefined || value < least) return undefined;
    answer.push([name, String(Math.min(value, most))]);
    return Math.min(value, most);
  };
  const blockMost = Math.min(BLOCK_MAX_BYTES, Math.max(DEFAULT_BLOCK_BYTES, limits.blockMaxBytes));
  const blockBytes = take('blksize', BLOCK_MIN_BYTES, blockMost) ?? DEFAULT_BLOCK_BYTES;
  const windowMost = Math.min(WINDOW_MAX_BLOCKS, Math.floor(WINDOW_MAX_BYTES / blockBytes));
  const windowBlocks = take('windowsize', 1, windowMost) ?? 1;
  // RFC 2349 §2: the server may only repeat the value, so one out of range is left out.
  const timeoutS = numberOf(asked.get('timeout'));
  const timed = timeoutS !== undefined && timeoutS >= 1 && timeoutS <= TIMEOUT_MAX_S;
  if (timed) answer.push(['timeout', String(timeoutS)]);
  const askedSize = asked.has('tsize');
  if (askedSize) answer.push(['tsize', String(sizeBytes)]);
  return {
    blockBytes,
    windowBlocks,
    timeoutMs: timed ? timeoutS * 1000 : undefined,
    askedSize,
    answer,
  };
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

/** Bytes of IP and UDP headers, TFTP's own four and room for IP options (dnsmasq's rule). */
const OVERHEAD_BYTES = { 4: 32, 6: 52 } as const;

/** The largest block for a path of that MTU: many ROMs cannot reassemble fragments. */
export function blockMaxFor(mtu: number, family: 4 | 6): number {
  return mtu - OVERHEAD_BYTES[family];
}
