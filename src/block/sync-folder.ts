import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Flushes a folder: a file's name is on stable media only when its folder is. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
