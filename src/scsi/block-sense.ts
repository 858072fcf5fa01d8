import { BlockError } from '#block/mod.ts';
import { ScsiError, Sense } from './sense.ts';

/**
 * The one mapping of a device's error to sense data. Anything that is not a `BlockError` is our own
 * fault, and says no more on the wire than that.
 */
export function scsiErrorOf(
  error: unknown,
  direction: 'read' | 'write',
  blockBytes: number,
): ScsiError {
  if (error instanceof ScsiError) return error;
  if (!(error instanceof BlockError)) return ScsiError.check(Sense.INTERNAL_TARGET_FAILURE);
  const information = Math.floor(error.offsetBytes / blockBytes);
  switch (error.kind) {
    case 'io':
      return direction === 'read'
        ? ScsiError.check(Sense.UNRECOVERED_READ_ERROR, { information })
        : ScsiError.check(Sense.WRITE_ERROR, { information });
    case 'no-space':
      return ScsiError.check(Sense.SPACE_ALLOCATION_FAILED, { information });
    case 'read-only':
      return ScsiError.check(Sense.WRITE_PROTECTED);
    case 'failed':
      return ScsiError.check(Sense.INTERNAL_TARGET_FAILURE);
    case 'gone':
      return ScsiError.check(Sense.NOT_RESPONDING);
  }
}
