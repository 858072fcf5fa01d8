import { UserError } from '#base/mod.ts';

/** The name is taken. */
export function imageExists(name: string): UserError {
  return new UserError('conflict', 'image-exists', {
    what: `there is an image named "${name}" already`,
    todo: 'choose another name, or remove that one first (polyboot image rm)',
  });
}

/** No image has the name. */
export function imageUnknown(name: string): UserError {
  return new UserError('not-found', 'image-unknown', {
    what: `there is no image named "${name}"`,
    todo: '`polyboot image list` shows the names',
  });
}
