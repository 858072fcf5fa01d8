/**
 * Builds the Debian image of the test run, once: `node test/boot/build-debian.ts FOLDER` prints its
 * path. The name carries a hash of the recipe, so that a changed recipe makes a new image and an
 * unchanged one costs nothing.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLog, systemClock } from '#base/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';

const RECIPES = join(import.meta.dirname, '../../src/images/recipes');
/** Beyond what every image has: 5 MB that the tests of initiators need inside the guest. */
const PACKAGES = ['multipath-tools', 'sg3-utils'];

function recipeKey(): string {
  const hash = createHash('sha256').update(PACKAGES.join(' '));
  const files = readdirSync(RECIPES).filter((name) => !name.endsWith('.test.ts'));
  for (const name of files.sort()) hash.update(name).update(readFileSync(join(RECIPES, name)));
  return hash.digest('hex').slice(0, 16);
}

async function build(folder: string): Promise<string> {
  const image = join(folder, `debian-${recipeKey()}.img`);
  if (existsSync(image)) return image;
  const work = join(folder, 'work');
  await rm(work, { recursive: true, force: true });
  const library = ImageLibrary.open({
    folder: work,
    cacheFolder: join(folder, '..'),
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  const progress = ({ line }: { readonly line?: string }): void => {
    if (line !== undefined) process.stderr.write(`${line}\n`);
  };
  const built = await library.build(
    'debian',
    { recipe: 'debian', hostName: 'guest', packages: PACKAGES },
    { progress },
  );
  await rename(built.path, image);
  await rm(work, { recursive: true, force: true });
  for (const old of readdirSync(folder)) {
    if (/^debian-.*\.img$/.test(old) && join(folder, old) !== image) await rm(join(folder, old));
  }
  return image;
}

process.stdout.write(`${await build(process.argv[2] ?? '.')}\n`);
