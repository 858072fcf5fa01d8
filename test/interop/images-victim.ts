import { join } from 'node:path';
import { silentLog, systemClock } from '#base/mod.ts';
import { ImageLibrary } from '#images/mod.ts';
import { openState } from '#store/mod.ts';

/**
 * Makes, copies and removes images for ever in the folder that it is given, with the real store:
 * the process that images-kill.test.ts kills. Prints a line after every verb that has returned.
 */
const folder = process.argv[2] ?? '';
const state = openState(join(folder, 'state.db'));
const library = ImageLibrary.open({
  folder: join(folder, 'library'),
  cacheFolder: join(folder, 'cache'),
  repository: state.images,
  clock: systemClock,
  log: silentLog,
  usersOf: () => [],
});

function say(verb: string, name: string): void {
  process.stdout.write(`${verb} ${name}\n`);
}

let number = library.list().length;
if (!library.list().some((i) => i.name === 'seed')) {
  library.create('seed', { preset: 'dos', sizeBytes: 8 * 2 ** 20 });
  say('made', 'seed');
}
for (;;) {
  const name = `i${Date.now()}-${++number}`;
  if (number % 2 === 0) library.create(name, { preset: 'dos', sizeBytes: 8 * 2 ** 20 });
  else await library.clone('seed', name);
  say('made', name);
  const oldest = library.list().find((i) => i.name !== 'seed');
  if (library.list().length > 4 && oldest !== undefined) {
    library.remove(oldest.name);
    say('removed', oldest.name);
  }
}
