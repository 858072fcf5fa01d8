import { BlockError } from '../device.ts';

/**
 * What went wrong at `offset` of the disk. Errors of the file carry the file's offsets, which mean
 * nothing to an initiator.
 */
export function blockErrorFrom(e: unknown, offset: number): BlockError {
  if (!(e instanceof BlockError)) return new BlockError('io', String(e), offset, { cause: e });
  return e.offsetBytes === offset ? e : new BlockError(e.kind, e.message, offset, { cause: e });
}
