import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ok, setUp } from './cli-kit.ts';

const STATE = {
  machine: 'p4',
  gone: false,
  image: 'dos',
  version: 1,
  behind: true,
  kept: true,
  createdAtMs: 1_700_000_000_000,
} as const;

test('each verb on an image asks for just that, and says what was done', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  const cases: [string, string][] = [
    ['snapshot dos --comment before', 'snapshot dos before'],
    ['rollback dos', 'rollback dos'],
    ['rollback dos@2', 'rollback dos 2'],
    ['flatten dos', 'flatten dos'],
    ['resize dos --size 8G', 'resize dos 8589934592'],
    ['repair dos --geometry', 'repair dos {"geometry":true}'],
    ['export dos@2 /tmp/x.vmdk', 'export dos@2 /tmp/x.vmdk {}'],
    [
      'export dos /tmp/x --format vpc --compress zst',
      'export dos /tmp/x {"format":"vpc","compression":"zst"}',
    ],
    ['freeze dos --comment v1', 'freeze dos v1'],
    ['promote dos', 'promote dos'],
    ['rm dos@3', 'remove dos@3'],
  ];
  for (const [line, call] of cases) {
    ok(await cli(`image ${line}`));
    assert.equal(services.images.calls.at(-1), call, line);
  }
  assert.equal(ok(await cli('image snapshot dos')), 'snapshot done\n');
  assert.match(ok(await cli('image repair dos')), /mended: the geometry/);
  const result: unknown = JSON.parse(ok(await cli('image freeze dos --json')));
  assert.partialDeepStrictEqual(result, { image: { name: 'dos', frozen: true }, fixed: [] });
  const list = ok(await cli('image list'));
  assert.match(list, /dos +1 GiB +golden/);
});

test('a check tells what it found; only errors fail', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  assert.match(ok(await cli('image check dos')), /warning: something is odd/);
  services.images.check = (name) =>
    Promise.resolve({
      image: name,
      problems: [{ severity: 'error', code: 'base-changed', text: 'it was changed' }],
      fixed: [],
    });
  const { code, out } = await cli('image check dos');
  assert.equal(code, 1);
  assert.match(out, /error: it was changed/);
});

test('images come from files and from golden ones', async (t) => {
  const { cli, services, folder } = await setUp(t);
  assert.match(ok(await cli('image import win98.vmdk.gz --name win98')), /source: +import of/);
  assert.equal(services.images.get('win98').source, `import of ${folder}/win98.vmdk.gz`);
  ok(await cli('image freeze win98'));
  assert.match(ok(await cli('image overlay win98 next --json')), /"source": "overlay of win98"/);
  const { code, err } = await cli('image import x.img --format wim');
  assert.equal(code, 2);
  assert.match(err, /wim/);
});

test('history and usage show points, overlays and who shares what', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  services.images.states = [{ ...STATE, allocatedBytes: 2 ** 20, next: 'discard' }];
  const history = ok(await cli('image history dos'));
  assert.match(history, /1 +2023-11-14T22:13:20Z .*as installed/);
  assert.match(history, /2 .*4 KiB +the present stands on it/);
  assert.match(history, /p4 +1 \(older\) .*1 MiB +discard/);
  assert.match(ok(await cli('image usage dos')), /dos\.img +raw +image "dos"/);
  for (const line of ['history', 'usage'])
    assert.partialDeepStrictEqual(JSON.parse(ok(await cli(`image ${line} dos --json`))), {
      name: 'dos',
    });
});

test('keep, discard and promote speak of machines, their drives, and those that are gone', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  ok(await cli('image freeze dos'));
  ok(await cli('machine add p4 --mac 52:54:00:00:00:01 --drive dos:overlay-kept'));
  const { id } = services.machines.show('p4');
  services.images.states = [STATE];
  assert.match(ok(await cli('image discard p4')), /begins with a new overlay of dos/);
  assert.match(ok(await cli('image keep p4.0')), /goes on with its overlay of dos/);
  ok(await cli('image promote p4 --machine --comment new'));
  assert.deepEqual(services.images.calls.slice(-3), [
    `discard ${id} dos attached`,
    `keep ${id} dos attached`,
    `promote-overlay dos ${id} new`,
  ]);
  const wrong = await cli('image discard p4.1');
  assert.match(wrong.err, /there is no overlay of p4\.1/);
  services.images.states = [{ ...STATE, gone: true }];
  assert.match(ok(await cli('machine rm p4')), /wrote on dos stays.* image discard p4/);
  assert.match(ok(await cli('image history dos')), /^p4 \(removed\) /m);
  assert.equal(ok(await cli('image discard p4')), 'removed\n');
  assert.equal(services.images.calls.at(-1), 'discard p4 dos left');
  // Another machine of that name has nothing to do with it, and hides it only with its own.
  ok(await cli('machine add p4 --mac 52:54:00:00:00:02 --drive dos:overlay-kept'));
  const other = services.machines.show('p4').id;
  services.images.states = [{ ...STATE, gone: true }];
  assert.match((await cli('image discard p4.0')).err, /there is no overlay of p4\.0/);
  services.images.states = [
    { ...STATE, gone: true },
    { ...STATE, image: 'dos' },
  ];
  ok(await cli('image keep p4'));
  assert.equal(services.images.calls.at(-1), `keep ${other} dos attached`);
  services.images.states = [{ ...STATE, gone: true }];
  assert.equal(ok(await cli('image discard p4')), 'removed\n');
  assert.equal(services.images.calls.at(-1), 'discard p4 dos left');
  assert.equal((await cli('image keep p4@1')).code, 1);
  assert.equal((await cli('image snapshot dos@2')).code, 2);
  assert.equal((await cli('image export dos@x /tmp/y.img')).code, 2);
});

test('nothing is installed on a golden image or on an ISO: both would be overwritten', async (t) => {
  const { cli } = await setUp(t);
  const asked: string[] = [];
  const local = {
    install: ({ name }: { name: string }) => {
      asked.push(name);
      return Promise.resolve(0);
    },
  };
  ok(await cli('image create dos --size 1G'));
  ok(await cli('install dos', { local }));
  ok(await cli('image freeze dos'));
  const golden = await cli('install dos', { local });
  assert.equal(golden.code, 1);
  assert.match(golden.err, /golden image.*image overlay dos NEW.*image promote NEW/s);
  ok(await cli('image add /srv/debian.iso --name cd'));
  assert.match((await cli('install cd', { local })).err, /it is an ISO.*--cdrom/s);
  assert.deepEqual(asked, ['dos']);
});

test('only an ISO is booted as one: over HTTP nothing else is given away', async (t) => {
  const { cli, folder } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  ok(await cli('image add /srv/debian.iso --name cd'));
  ok(await cli('machine add p4 --mac 52:54:00:00:00:01 --iso cd'));
  for (const line of ['machine set p4 --iso dos', 'machine boot p4 --iso dos --once']) {
    const { code, err } = await cli(line);
    assert.equal(code, 1);
    assert.match(err, /"dos" is no ISO/);
  }
  const lab = join(folder, 'lab.yaml');
  const machines = 'p4: { macs: ["52:54:00:00:00:01"], plan: { kind: iso, image: dos } }';
  writeFileSync(lab, `machines:\n  ${machines}\n`);
  assert.match((await cli(`apply ${lab}`)).err, /lab\.yaml:2: machines\.p4\.plan: .*is no ISO/);
  assert.match(ok(await cli('machine show p4')), /boots: +ISO cd/);
});

test('drives are attached in every mode that their image admits', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  const add = 'machine add p4 --mac 52:54:00:00:00:01 --drive';
  assert.equal((await cli(`${add} dos:overlay-fresh`)).code, 1, 'it is not golden');
  ok(await cli('image freeze dos'));
  assert.equal((await cli(`${add} dos`)).code, 1, 'nobody has a golden image exclusively');
  ok(await cli(`${add} dos:overlay-fresh`));
  ok(await cli('machine add p5 --mac 52:54:00:00:00:02 --drive dos:overlay-kept'));
  ok(await cli('machine add p6 --mac 52:54:00:00:00:03 --drive dos:shared'));
  assert.deepEqual(
    services.machines.holdersOf('dos').map((h) => h.mode),
    ['overlay-fresh', 'overlay-kept', 'shared'],
  );
  assert.match(ok(await cli('dump')), /dos:overlay-fresh[^]*dos:overlay-kept[^]*dos:shared/);
  assert.equal((await cli('machine set p4 --drive dos:kept')).code, 2);
});
