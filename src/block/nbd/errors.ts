import { BlockError } from '../device.ts';
import type { BlockErrorKind } from '../device.ts';
import { WireError } from './protocol.ts';
import type { NbdRequest } from './request.ts';

const KIND_BY_ERROR: Readonly<Record<number, BlockErrorKind>> = {
  [WireError.EPERM]: 'read-only',
  [WireError.ENOSPC]: 'no-space',
};

/** The one place where an error of the wire becomes ours; what is not listed is the medium's. */
export function errorOf(request: NbdRequest, error: number, text: string): BlockError {
  const said = text === '' ? '' : `: ${text}`;
  const message = `the NBD server answered error ${error}${said}`;
  return new BlockError(KIND_BY_ERROR[error] ?? 'io', message, request.offsetBytes);
}

/** The server cannot be reached, or the disk is closed. */
export function goneError(message: string): BlockError {
  return new BlockError('gone', message, 0);
}

/** The disk has failed for good. */
export function failedError(reason: string): BlockError {
  return new BlockError('failed', `the NBD disk has failed: ${reason}`, 0);
}
