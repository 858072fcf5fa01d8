import { statSync } from 'node:fs';
import { errnoOf, messageOf, UserError } from '#base/mod.ts';

/** Sizes that a PC's floppy drive knows: 160, 180, 320 and 360 KiB, 720 KiB, 1.2, 1.44, 2.88 MB. */
const FLOPPY_KIB: readonly number[] = [160, 180, 320, 360, 720, 1200, 1440, 2880];
/** A block of a CD-ROM (ECMA-130). */
const CD_BLOCK_BYTES = 2048;

/** Throws UserError `medium` when the file cannot be what the drive takes. */
export function checkMedium(file: string, kind: 'floppy' | 'cdrom'): void {
  const size = sizeOf(file);
  if (kind === 'floppy') {
    if (FLOPPY_KIB.includes(size / 1024)) return;
    throw notSuch(file, 'a floppy', `it has ${size} bytes; a 1.44 MB floppy has 1474560`);
  }
  if (size > 0 && size % CD_BLOCK_BYTES === 0) return;
  throw notSuch(file, 'a CD-ROM', `its size, ${size} bytes, is no multiple of ${CD_BLOCK_BYTES}`);
}

function sizeOf(file: string): number {
  try {
    const stats = statSync(file);
    if (stats.isFile()) return stats.size;
  } catch (cause) {
    const what = errnoOf(cause) === 'ENOENT' ? `there is no file ${file}` : `cannot read ${file}`;
    throw new UserError('not-found', 'medium', { what, why: messageOf(cause) }, { cause });
  }
  throw notSuch(file, 'an image of a medium', 'it is no regular file');
}

function notSuch(file: string, what: string, why: string): UserError {
  return new UserError(
    'invalid',
    'medium',
    { what: `${file} is not the image of ${what}`, why },
    {},
  );
}
