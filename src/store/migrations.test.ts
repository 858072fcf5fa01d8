import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openState } from './mod.ts';
import { openStore } from './open.ts';
import { STATE_MIGRATIONS } from './migrations.ts';

test('images of the first version become images of one layer each', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-migrate-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'state.db');
  const old = openStore(path, STATE_MIGRATIONS.slice(0, 1));
  const images = [
    `('dos', 'raw', '/srv/dos.img', 504, 512, 1, 7, 'games', 'preset dos')`,
    `('cd', 'iso', '/srv/cd.iso', 2048, 2048, 0, 8, NULL, NULL)`,
    `('zvol', 'block', '/dev/zvol/tank/pc', 4096, 4096, 0, 9, NULL, NULL)`,
  ];
  old.exec(`INSERT INTO images VALUES ${images.join(', ')}`);
  old.exec(`INSERT INTO machines (id, name, registered, plan, created_at_ms)
    VALUES ('m', 'p4', 1, '{"kind":"san"}', 1)`);
  old.exec(`INSERT INTO machine_macs VALUES ('52:54:00:00:00:04', 'm', 0)`);
  old.exec(`INSERT INTO machine_drives VALUES ('m', 0, 'dos', 'exclusive')`);
  old.exec(`INSERT INTO image_holds VALUES ('dos', 'm', 'exclusive')`);
  old.close();

  const state = openState(path);
  assert.ok(existsSync(`${path}.before-v${STATE_MIGRATIONS.length}`), 'a copy was made first');
  const dos = state.images.get('dos');
  const { head, ...facts } = dos ?? assert.fail('no dos');
  assert.deepEqual(facts, {
    name: 'dos',
    kind: 'raw',
    path: '/srv/dos.img',
    sizeBytes: 504,
    blockBytes: 512,
    owned: true,
    frozen: false,
    createdAtMs: 7,
    lastPoint: 0,
    note: 'games',
    source: 'preset dos',
  });
  assert.match(head, /^[0-9a-f]{10}$/, 'an id as the library makes them');
  assert.deepEqual(
    state.images.list().map((i) => [i.name, i.kind, i.blockBytes, i.owned]),
    [
      ['cd', 'iso', 2048, false],
      ['dos', 'raw', 512, true],
      ['zvol', 'block', 4096, false],
    ],
  );
  assert.equal(state.images.layers().length, 3);
  assert.deepEqual(state.machines.list()[0]?.drives, [{ image: 'dos', mode: 'exclusive' }]);
  // The new tables hold together.
  state.images.commit({
    setImages: [{ name: 'dos', head, createdAtMs: 7, lastPoint: 1 }],
    addPoints: [{ image: 'dos', number: 1, layer: head, createdAtMs: 9 }],
  });
  state.close();
  const again = openState(path);
  assert.equal(again.images.points().length, 1);
  again.close();
});
