import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { forSeeds, seeds } from '../sim/random.ts';
import { makeDisks } from './kill-disk.ts';
import { Lane } from './lane.ts';
import type { Program } from './lane.ts';

/**
 * The same as kill.test.ts with the whole program, `polyboot export`, in fewer lives: what the lean
 * target of that test leaves out (the command line, options, its way to open a disk) is here.
 */
const MAIN = new URL('../../src/main.ts', import.meta.url).pathname;

/** One disk is LUN 0 of `polyboot export`. */
function exporting(state: string): Program {
  return {
    args: ([disk]) => {
      assert.ok(disk !== undefined && disk.source.kind !== 'nbd');
      const { source, cache, log } = disk;
      const base = source.kind === 'qcow2' ? source.backing : undefined;
      const backing = base?.kind === 'raw' ? ['--backing', base.path] : [];
      const keeping = log === undefined ? [] : ['--state', state];
      const where = ['--listen', '127.0.0.1', '--port', '0'];
      return [MAIN, 'export', source.path, '--cache', cache, ...where, ...backing, ...keeping];
    },
    ready: /^iscsi:\/\/127\.0\.0\.1:(?<port>\d+)\/(?<iqn>\S+)\/0\n/,
  };
}

suite('kill -9 of polyboot export', () => {
  for (const index of [0, 1, 2, 3, 4]) {
    const name = ['raw', 'raw, write-through', 'raw with --state', 'qcow2', 'overlay'][index] ?? '';
    test(name, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'polyboot-export-'));
      t.after(() => rm(folder, { recursive: true }));
      const disk = makeDisks(folder)[index];
      assert.ok(disk !== undefined);
      const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'cache') };
      const lane = new Lane([disk], env, exporting(join(folder, 'state')));
      t.after(() => lane.close());
      await lane.begin();
      await forSeeds(seeds(6, 60), (seed) => lane.round(seed));
      await lane.end();
      if (process.env['POLYBOOT_SEEDS'] === undefined) assert.ok(lane.tally.acknowledged > 0);
    });
  }
});
