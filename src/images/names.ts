import { basename, extname } from 'node:path';
import { UserError } from '#base/mod.ts';

/** Longest name: it becomes a file name and part of messages. */
export const MAX_NAME_LENGTH = 64;
const NAME = /^[a-z0-9][a-z0-9._-]*$/;

/**
 * Names are file names, URL parts and YAML keys: lower-case letters, digits, ".", "_" and "-",
 * beginning with a letter or digit. Throws UserError `image-name`.
 */
export function checkImageName(name: string): void {
  if (name.length <= MAX_NAME_LENGTH && NAME.test(name)) return;
  throw new UserError('invalid', 'image-name', {
    what: `"${name}" cannot be the name of an image`,
    why: `names have lower-case letters, digits, ".", "_" and "-", at most ${MAX_NAME_LENGTH}`,
    todo: `choose another, such as "${nameFromPath(name)}"`,
  });
}

/** The name that a file suggests: "/data/Win 98.img" → "win-98". */
export function nameFromPath(path: string): string {
  const stem = basename(path, extname(path)).toLowerCase();
  const name = stem.replaceAll(/[^a-z0-9._-]+/g, '-').replace(/^[^a-z0-9]+/, '');
  return name.slice(0, MAX_NAME_LENGTH) || 'image';
}

/** Whether the text is the address of an NBD export rather than a path. */
export function isNbdUrl(text: string): boolean {
  return /^nbd(\+unix)?:\/\//.test(text);
}
