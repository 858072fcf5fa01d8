import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';

/**
 * Where a loader file is among the folders, first match wins: by its exact path below a folder.
 * What is found is served from the folder that really holds it, because distributions link builds
 * from one place to another.
 */
export function locateLoader(
  folders: readonly string[],
  file: string,
): { root: string; path: string } | undefined {
  const clean = normalize(file);
  if (clean.startsWith('..') || clean.startsWith('/')) return undefined;
  for (const folder of folders) {
    const path = join(folder, clean);
    if (!existsSync(path) || !statSync(path).isFile()) continue;
    const real = realpathSync(path);
    return { root: dirname(real), path: basename(real) };
  }
  return undefined;
}
