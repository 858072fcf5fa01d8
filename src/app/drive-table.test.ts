import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import { DriveTable } from './drive-table.ts';

const drive = (machine: string, image: string): DriveExport => ({
  config: { iqn: `iqn.x:${machine}.0`, access: [`iqn.x:${machine}`], takeover: true },
  machine,
  image,
  source: { kind: 'raw', path: `/images/${image}`, blockBytes: 512 },
  readOnly: false,
  volatile: false,
  cdrom: false,
  serial: image,
});

/** Serves images that can be open once each, and writes down what happened. */
function setup(): { table: DriveTable; log: string[]; inUse: Set<string> } {
  const log: string[] = [];
  const open = new Set<string>();
  const inUse = new Set<string>();
  const table = new DriveTable({
    inUse: (iqn) => inUse.has(iqn),
    serve: (d) => {
      if (open.has(d.image)) {
        return Promise.reject(
          new UserError('conflict', 'in-use', { what: `${d.image} is in use` }),
        );
      }
      open.add(d.image);
      log.push(`+${d.machine}:${d.image}`);
      return Promise.resolve({
        close: () => {
          open.delete(d.image);
          log.push(`-${d.machine}:${d.image}`);
          return Promise.resolve();
        },
      });
    },
  });
  return { table, log, inUse };
}

test('serves what is new, drops what is gone, leaves the rest alone', async () => {
  const { table, log } = setup();
  await table.sync([drive('a', 'dos'), drive('b', 'debian')]);
  await table.sync([drive('b', 'debian'), drive('c', 'rescue')]);
  assert.deepEqual(log, ['+a:dos', '+b:debian', '-a:dos', '+c:rescue']);
  await table.close();
  assert.deepEqual(log.slice(4), ['-b:debian', '-c:rescue']);
});

test('two machines exchange their images in one step', async () => {
  const { table, log } = setup();
  await table.sync([drive('a', 'dos'), drive('b', 'debian')]);
  assert.deepEqual(await table.sync([drive('a', 'debian'), drive('b', 'dos')]), []);
  assert.deepEqual(log.slice(2), ['-a:dos', '-b:debian', '+a:debian', '+b:dos']);
});

test('a running system keeps its disk until it ends or its machine starts again', async () => {
  const { table, log, inUse } = setup();
  await table.sync([drive('a', 'dos'), drive('b', 'debian')]);
  inUse.add('iqn.x:a.0').add('iqn.x:b.0');
  const wish = [drive('a', 'rescue'), drive('b', 'rescue2')];
  await table.sync(wish);
  assert.equal(log.length, 2, 'both wait');
  await table.sync(wish, 'a');
  assert.deepEqual(log.slice(2), ['-a:dos', '+a:rescue']);
  inUse.delete('iqn.x:b.0');
  await table.sessionEnded();
  assert.deepEqual(log.slice(4), ['-b:debian', '+b:rescue2']);
});

test('what cannot be served is said, and served once it can be', async () => {
  const { table, log, inUse } = setup();
  await table.sync([drive('a', 'dos')]);
  inUse.add('iqn.x:a.0');
  const problems = await table.sync([drive('b', 'dos')]);
  assert.deepEqual(
    problems.map((p) => [p.machine, p.why]),
    [['b', 'dos is in use']],
  );
  inUse.clear();
  await table.sessionEnded();
  assert.deepEqual(log, ['+a:dos', '-a:dos', '+b:dos']);
});

test('changes that come while one is under way end in the newest wish', async () => {
  const { table, log } = setup();
  const all = [1, 2, 3, 4].map((n) => table.sync([drive('a', `image${n}`)]));
  await Promise.all(all);
  assert.equal(log.at(-1), '+a:image4');
  assert.equal(
    log.filter((l) => l.startsWith('+')).length,
    log.filter((l) => l.startsWith('-')).length + 1,
  );
});

test('release lets go of what nobody uses and takes nothing; the next sync takes', async () => {
  const { table, log, inUse } = setup();
  await table.sync([drive('a', 'dos'), drive('b', 'debian')]);
  inUse.add('iqn.x:b.0');
  await table.release([drive('c', 'rescue')]);
  assert.deepEqual(log.slice(2), ['-a:dos']);
  await table.sync([drive('c', 'rescue')]);
  assert.deepEqual(log.slice(3), ['+c:rescue']);
  inUse.clear();
  assert.equal(await table.sessionEnded(), true, 'b was waiting to go');
  assert.equal(await table.sessionEnded(), false);
  assert.equal(table.served('iqn.x:b.0'), undefined);
  assert.ok(table.served('iqn.x:c.0'));
});
