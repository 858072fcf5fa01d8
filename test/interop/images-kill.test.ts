import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLog, systemClock } from '#base/mod.ts';
import { ImageLibrary } from '#images/mod.ts';
import { openState } from '#store/mod.ts';
import { Running } from '../lab/process.ts';
import { Mutator } from './disk-mutator.ts';

const ROUNDS = 12;
const VICTIM = join(import.meta.dirname, 'images-victim.ts');

test('kill -9 at any moment: every image is whole or not there, and what was told holds', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-kill-'));
  const random = new Mutator(7);
  const expected = new Set<string>();
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const victim = new Running(process.execPath, [VICTIM, folder]);
      await victim.waitFor(/made/);
      // The point of the kill is a random moment inside some verb.
      await delay(random.next(400));
      const { stdout, stderr } = await victim.stop('SIGKILL');
      assert.equal(stderr, '');
      follow(stdout, expected);
      await check(folder, expected);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Applies what the victim has told to `expected`. */
function follow(stdout: string, expected: Set<string>): void {
  // A line cut short by the kill tells nothing.
  for (const line of stdout.split('\n').slice(0, -1)) {
    const [verb, name = ''] = line.split(' ');
    if (verb === 'made') expected.add(name);
    else expected.delete(name);
  }
}

/** Opens the library as after a crash; it may differ from what was told by one verb at most. */
async function check(folder: string, expected: Set<string>): Promise<void> {
  const state = openState(join(folder, 'state.db'));
  const files = join(folder, 'library');
  const library = ImageLibrary.open({
    folder: files,
    cacheFolder: join(folder, 'cache'),
    repository: state.images,
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  const names = library.list().map((i) => i.name);
  const layers = state.images.layers().map((layer) => layer.path.slice(files.length + 1));
  assert.deepEqual(readdirSync(files).sort(), layers.sort());
  for (const name of names) {
    const report = await library.inspect(name);
    assert.deepEqual(report.warnings, [], name);
    assert.equal(report.partitions[0]?.filesystem?.kind, 'FAT12', name);
    assert.deepEqual((await library.check(name)).problems, [], name);
  }
  const untold = names.filter((n) => !expected.has(n));
  const missing = [...expected].filter((n) => !names.includes(n));
  assert.ok(untold.length + missing.length <= 1, `${untold.join()} / ${missing.join()}`);
  for (const n of untold) expected.add(n);
  for (const n of missing) expected.delete(n);
  state.close();
}
