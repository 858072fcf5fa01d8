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
const has = (name: string): boolean => library.list().some((i) => i.name === name);
if (!has('seed')) {
  await library.create('seed', { preset: 'dos', sizeBytes: 8 * 2 ** 20 });
  say('made', 'seed');
}
if (!has('golden')) {
  await library.clone('seed', 'golden');
  say('made', 'golden');
}
await library.freeze('golden');
const fresh = [{ image: 'golden', mode: 'overlay-fresh' }] as const;
for (;;) {
  const name = `i${Date.now()}-${++number}`;
  if (number % 3 === 0) await library.create(name, { preset: 'dos', sizeBytes: 8 * 2 ** 20 });
  else if (number % 3 === 1) await library.clone('seed', name);
  else await library.overlay('golden', name);
  say('made', name);
  await library.snapshot(name);
  await library.prepareBoot({ id: `m${number % 3}`, name: 'm' }, fresh, true);
  await library.rollback(name);
  if (number % 2 === 0) await library.flatten(name);
  else if (number % 3 === 2 && library.history('golden').points.length < 5)
    await library.promote(name).catch(() => undefined);
  const oldest = library.list().find((i) => i.name !== 'seed' && i.name !== 'golden');
  if (library.list().length > 5 && oldest !== undefined) {
    await library.remove(oldest.name);
    say('removed', oldest.name);
  }
}
