import { EnvironmentError, UserError, silentLog, systemClock } from '#base/mod.ts';
import type { Clock, Log, PolybootError } from '#base/mod.ts';
import { lookAtExport } from './connection.ts';
import type { ConnectionEnd } from './connection.ts';
import { NbdDevice } from './device.ts';
import { NbdEngine } from './engine.ts';
import type { NbdExport } from './handshake.ts';
import { dialOf } from './socket.ts';
import { parseNbdUrl } from './url.ts';
import type { Dial } from './wire.ts';

/**
 * A call waits this long for a server that is away. Linux gives a SCSI command 30 s and aborts it,
 * and an iSCSI session 120 s; Windows gives a disk 60 s. The answer must come before all give up.
 */
export const NBD_HOLD_MS = 45_000;
/** Silence of a server that owes an answer: QEMU and nbdkit answer a cold read within seconds. */
export const NBD_STALL_MS = 15_000;
export const NBD_CONNECT_MS = 10_000;
/** Writes of one disk kept until a flush covers them: a second at 500 Mbit/s. */
export const NBD_UNFLUSHED_BYTES = 64 * 1024 * 1024;

/** How an export is opened. */
export type NbdOptions = {
  readonly readOnly?: boolean;
  /** Accept an export that cannot make writes durable (durability contract 8 and 9). */
  readonly volatile?: boolean;
  /** Logical block of the disk that is shown; default 512, or the server's minimum. */
  readonly blockBytes?: number;
  readonly holdMs?: number;
  readonly stallMs?: number;
  readonly connectMs?: number;
  readonly unflushedBytesMax?: number;
  readonly clock?: Clock;
  readonly log?: Log;
  /** How to connect, in place of a socket to where the URL says. */
  readonly dial?: Dial;
};

/** What our initiators know how to boot from. */
const BLOCK_SIZES: readonly number[] = [512, 2048, 4096];

/**
 * Connects to an export as a disk. There is no lock: NBD has none, who else writes to the export is
 * the server's owner's to decide.
 *
 * Throws `UserError` (a bad URL, no such export, TLS, read-only or unable to flush where that is
 * not wanted, blocks we cannot show) or `EnvironmentError` (not reachable, no NBD).
 */
export async function openNbd(url: string, options: NbdOptions = {}): Promise<NbdDevice> {
  const address = parseNbdUrl(url);
  const clock = options.clock ?? systemClock;
  const dial = options.dial ?? dialOf(address);
  const connectMs = options.connectMs ?? NBD_CONNECT_MS;
  const readOnly = options.readOnly ?? false;
  const engine = new NbdEngine({
    dial,
    clock,
    log: (options.log ?? silentLog).child({ nbd: url }),
    exportName: address.exportName,
    readOnly,
    holdMs: options.holdMs ?? NBD_HOLD_MS,
    stallMs: options.stallMs ?? NBD_STALL_MS,
    connectMs,
    unflushedBytesMax: options.unflushedBytesMax ?? NBD_UNFLUSHED_BYTES,
  });
  const end = await new Promise<ConnectionEnd | null>((resolve) => {
    engine.start(resolve);
  });
  if (end !== null) throw unreachable(url, end);
  try {
    const blockBytes = blockBytesOf(url, engine.info, options.blockBytes);
    refuseUnfit(url, engine.info, readOnly, options.volatile ?? false);
    const device = new NbdDevice({
      engine,
      clock,
      blockBytes,
      readOnly,
      look: (answer) => {
        lookAtExport({ dial, clock, exportName: address.exportName, connectMs }, answer);
      },
    });
    device.learnHoles(() => undefined);
    return device;
  } catch (e) {
    engine.close(() => undefined);
    throw e;
  }
}

function blockBytesOf(url: string, info: NbdExport, asked: number | undefined): number {
  const { sizeBytes, minimumBlockBytes: minimum, payloadBytesMax } = info;
  const blockBytes = asked ?? BLOCK_SIZES.find((b) => b >= minimum && b !== 2048) ?? 0;
  const what = `the export "${url}" cannot be used as a disk`;
  if (!BLOCK_SIZES.includes(blockBytes) || blockBytes < minimum || payloadBytesMax < blockBytes) {
    const why = `the server takes requests of ${minimum} bytes and more, in blocks of that size`;
    const todo = 'disks have blocks of 512, 2048 or 4096 bytes: let the server take those';
    throw new UserError('invalid', 'nbd-block-size', { what, why, todo });
  }
  if (sizeBytes === 0 || sizeBytes % blockBytes !== 0) {
    const why =
      sizeBytes === 0
        ? 'it is empty'
        : `its size, ${sizeBytes} bytes, is no multiple of the block size, ${blockBytes}`;
    throw new UserError('invalid', 'nbd-size', { what, why });
  }
  return blockBytes;
}

function refuseUnfit(url: string, info: NbdExport, readOnly: boolean, volatile: boolean): void {
  if (readOnly) return;
  if (info.readOnly) {
    throw new UserError('forbidden', 'nbd-read-only', {
      what: `the export "${url}" cannot be written`,
      why: 'the server gives it read-only',
      todo: 'use it read-only, or as the base of an overlay',
    });
  }
  if (volatile || info.canFlush || info.canFua) return;
  throw new UserError('unsupported', 'nbd-volatile', {
    what: `the export "${url}" cannot be written as a disk that lasts`,
    why: 'the server cannot flush, so nobody knows what survives its end',
    todo: 'use it read-only, as the base of an overlay, or as a disk that is reset at each start',
  });
}

function unreachable(url: string, end: ConnectionEnd): PolybootError {
  if (end.refusal instanceof UserError) return end.refusal;
  return new EnvironmentError('nbd-unreachable', {
    what: `the NBD export "${url}" cannot be opened`,
    why: end.reason,
    todo: 'check that the server runs and listens there',
  });
}
