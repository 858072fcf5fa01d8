import { ERROR_FILES, POSIX_ERRORS, SITUATIONS } from './error-tables.ts';

/**
 * iPXE's error numbers, as `http://ipxe.org/1d852039` or `${errno}` show them. The number itself
 * says what went wrong and where (iPXE's include/errno.h): bits 30–24 the POSIX-like error, 23–13
 * the source file, 12–8 which of several causes in that file, 7–0 the firmware's own error number.
 */
export type IpxeError = {
  /** Eight hex digits, lower case. */
  readonly code: string;
  /** `EIO`, and iPXE's text for it. */
  readonly name: string;
  readonly text: string;
  /** The part of iPXE that gave up (`iscsi`, `tcp`, `int13` …), when it is one we know. */
  readonly source?: string;
  /** Told by the low byte: UEFI's error numbers have bit 7 set. */
  readonly firmware: 'bios' | 'uefi';
  /** What it means in a boot, and what to do, for the situations we know. */
  readonly meaning?: string;
  readonly todo?: string;
};

/** Finds and decodes the error number in a line of iPXE's output; undefined when there is none. */
export function decodeIpxeError(text: string): IpxeError | undefined {
  const digits = /(?:ipxe\.org\/|0x|^\s*)([0-7][0-9a-f]{7})(?![0-9a-f])/i.exec(text)?.[1];
  if (digits === undefined) return undefined;
  const number = Number.parseInt(digits, 16);
  const posix = (number >>> 24) & 0x7f;
  const file = (number >>> 13) & 0x7ff;
  const cause = (number >>> 8) & 0x1f;
  const known = POSIX_ERRORS.get(posix);
  if (known === undefined) return undefined;
  const [name, meaningOfName] = known;
  const source = ERROR_FILES.get(file);
  const situation = SITUATIONS.find(
    (s) => s.name === name && s.source === source && (s.cause === undefined || s.cause === cause),
  );
  return {
    code: digits.toLowerCase(),
    name,
    text: meaningOfName,
    ...(source === undefined ? {} : { source }),
    firmware: (number & 0x80) === 0 ? 'bios' : 'uefi',
    ...(situation === undefined ? {} : { meaning: situation.meaning, todo: situation.todo }),
  };
}
