import { PolybootError, errnoOf, messageOf } from '#base/mod.ts';
import { BlockError } from './device.ts';
import type { BlockErrorKind } from './device.ts';

const KIND_BY_ERRNO: Readonly<Record<string, BlockErrorKind>> = {
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  // The file system's own limit of file size: more room cannot be had either.
  EFBIG: 'no-space',
  EROFS: 'read-only',
  EPERM: 'read-only',
  // The device or the server behind the file is no longer there.
  ENODEV: 'gone',
  ENXIO: 'gone',
  ESTALE: 'gone',
  ESHUTDOWN: 'gone',
  ENOTCONN: 'gone',
};

/**
 * The one place where an errno becomes a `BlockError`; anything not listed is a medium error. A
 * flush that fails is always `failed`, whatever the reason: what it lost is not known.
 */
export function blockErrorOf(
  e: unknown,
  operation: 'read' | 'write' | 'flush',
  offsetBytes: number,
): BlockError {
  if (e instanceof BlockError) return e;
  const code = e instanceof PolybootError ? e.code : (errnoOf(e) ?? '');
  const kind = operation === 'flush' ? 'io' : (KIND_BY_ERRNO[code] ?? 'io');
  return new BlockError(kind, `${operation}: ${messageOf(e)}`, offsetBytes, { cause: e });
}
