import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startAdminServer } from '../../src/api/server.ts';
import { ok, setUp } from './cli-kit.ts';

const MINE = { machine: 'p4', boot: 'boot-1', mac: '52:54:00:00:00:01' };
const OTHER = { machine: 'p5', boot: 'boot-2', mac: '52:54:00:00:00:02' };

test('watch draws a boot live, from its recent beginning to its verdict', async (t) => {
  const { start, services } = await setUp(t);
  const now = Date.now();
  services.events.emit({ ...OTHER, atMs: now - 3_600_000 });
  services.events.emit({ ...MINE, atMs: now, facts: { arch: 7 } });
  const watch = start('watch');
  await watch.until(/power-on {2}arch 7/);
  services.events.emit({ ...MINE, atMs: now + 1_500, stage: 'script' });
  services.events.emit({ ...MINE, atMs: now + 30_000, stage: 'ready' });
  await watch.until(/ready after/);
  watch.stop.abort();
  const out = ok(await watch.done);
  assert.doesNotMatch(out, /p5/, 'a boot of an hour ago is not shown');
  assert.match(out, /\+1\.5 s {2}script\n *\+30\.0 s {2}ready\n {2}✔ ready after 30\.0 s\n$/);
});

test('watch says where a boot stopped and the usual causes', async (t) => {
  const { start, services } = await setUp(t);
  const watch = start('watch --after 0');
  services.events.emit({ ...MINE, stage: 'script' });
  const problem = { what: 'no login', why: 'port 3260 is blocked', todo: 'open it' };
  services.events.emit({ ...MINE, stage: 'stopped', problem });
  await watch.until(/do: {2}open it/);
  watch.stop.abort();
  assert.match(
    ok(await watch.done),
    /✘ stopped after "script": no login\n +why: port 3260 is blocked\n/,
  );
});

test('watch --machine shows one machine, --json one event per line', async (t) => {
  const { start, services } = await setUp(t);
  services.machines.add({ name: 'p4', macs: [MINE.mac] });
  const byName = start('watch --json --after 0 --machine p4');
  const spelled = OTHER.mac.replaceAll(':', '-').toUpperCase();
  const byMac = start(`watch --json --after 0 --machine ${spelled}`);
  for (let n = 0; n < 3; n += 1) {
    services.events.emit({ ...MINE, facts: { n } });
    services.events.emit({ ...OTHER, facts: { n } });
  }
  await byName.until(/"n":2/);
  await byMac.until(/"n":2/);
  byName.stop.abort();
  byMac.stop.abort();
  const events = ok(await byName.done)
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  assert.deepEqual(
    events,
    services.events.all.filter((event) => event.machine === 'p4'),
  );
  assert.equal(
    ok(await byMac.done)
      .trimEnd()
      .split('\n').length,
    3,
  );
});

test('watch --machine finds what a machine did before it was named, and refuses no machine', async (t) => {
  const { cli, start, services } = await setUp(t);
  services.machines.add({ name: 'pentium', macs: [MINE.mac] });
  const watch = start('watch --json --after 0 --machine pentium');
  const { machine: _, ...unnamed } = MINE;
  services.events.emit({ ...unnamed, facts: { n: 1 } });
  services.events.emit({ ...MINE, machine: 'new-000001', facts: { n: 2 } });
  await watch.until(/"n":1[^]*"n":2/);
  watch.stop.abort();
  ok(await watch.done);
  const { code, err } = await cli('watch --machine pentum');
  assert.equal(code, 1);
  assert.match(err, /no machine "pentum"\n.*machine list/);
});

test('watch outlives a restart of the server and loses no event', async (t) => {
  const { start, services, server, socket } = await setUp(t);
  const watch = start('watch --json --after 0');
  services.events.emit({ ...MINE, facts: { n: 1 } });
  await watch.until(/"n":1/);
  await server.close();
  await watch.until(/the server went away; waiting for it/);
  services.events.emit({ ...MINE, facts: { n: 2 } });
  const again = await startAdminServer({ services, socketPath: socket, version: '0.1.0' });
  await watch.until(/"n":2/);
  services.events.emit({ ...MINE, facts: { n: 3 } });
  await watch.until(/"n":3/);
  watch.stop.abort();
  const { out, err } = await watch.done;
  assert.deepEqual(
    out
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: number }).id),
    [1, 2, 3],
  );
  assert.equal(err.match(/went away/g)?.length, 1);
  await again.close();
});

test('apply, then dump, then apply: the file is the state', async (t) => {
  const { cli, folder, services } = await setUp(t);
  const file = join(folder, 'lab.yaml');
  writeFileSync(
    file,
    `
images:
  golden: { path: /srv/golden.img, note: "ours: do not touch" }
machines:
  p4:
    macs: ["52:54:00:00:00:01"]   # the Pentium
    address: 10.0.0.5
    drives: [golden:shared]
  p5:
    macs: [52-54-00-00-00-02]
    plan:
      kind: kernel
      kernel: vmlinuz
      cmdline: "console=ttyS0 # not a comment"
    chap: { user: p5, secret: secret-of-p5 }
`,
  );
  const planned = ok(await cli('apply lab.yaml --dry-run'));
  assert.match(
    planned,
    /^\+ image golden\n {4}\/srv\/golden\.img\n\+ machine p4\n[\s\S]*3 changes to make/,
  );
  assert.deepEqual(services.machines.list(), []);
  assert.match(ok(await cli('apply lab.yaml')), /3 changes made\n$/);
  assert.equal(ok(await cli('apply lab.yaml')), 'nothing to change\n');

  const dumped = ok(await cli('dump'));
  assert.doesNotMatch(dumped, /secret-of-p5/);
  writeFileSync(file, dumped);
  assert.equal(ok(await cli('apply lab.yaml')), 'nothing to change\n');
  writeFileSync(file, readFileSync(file, 'utf8').replace('10.0.0.5', '10.0.0.6'));
  assert.match(
    ok(await cli('apply lab.yaml')),
    /^~ machine p4\n {4}address: 10\.0\.0\.5 → 10\.0\.0\.6\n1 change made/,
  );
  const whole = ok(await cli('dump --secrets'));
  assert.match(whole, /secret: secret-of-p5/);
  writeFileSync(file, 'machines: {}\n');
  assert.match(ok(await cli('apply lab.yaml')), /- machine p4\n- machine p5\n2 changes made/);
  writeFileSync(file, whole);
  ok(await cli('apply lab.yaml'));
  assert.equal(ok(await cli('dump --secrets')), whole);
});

test('every fault of a lab file is told at once, with file and line', async (t) => {
  const { cli, folder, services } = await setUp(t);
  writeFileSync(
    join(folder, 'lab.yaml'),
    `machines:
  p4:
    macs: [nonsense]
    adress: 10.0.0.5
  P-5:
    macs: ["52:54:00:00:00:02"]
  p6: {}
color: beige
`,
  );
  const { code, err } = await cli('apply lab.yaml');
  assert.equal(code, 1);
  for (const line of [3, 4, 5, 7, 8]) assert.match(err, new RegExp(`lab\\.yaml:${line}: `), err);
  assert.deepEqual(services.machines.list(), []);
  writeFileSync(join(folder, 'lab.yaml'), 'machines:\n  p4: [\n');
  assert.match((await cli('apply lab.yaml')).err, /lab\.yaml:\d: /);
});

test('faults that only the server can see have their lines too', async (t) => {
  const { cli, folder } = await setUp(t);
  writeFileSync(
    join(folder, 'lab.yaml'),
    `machines:
  a:
    macs: ["52:54:00:00:00:01"]
    drives:
      - missing
  b:
    macs:
      - "52:54:00:00:00:01"
  c:
    macs: ["52:54:00:00:00:03"]
    chap:
      user: c
`,
  );
  const { code, err } = await cli('apply lab.yaml');
  assert.equal(code, 1);
  assert.match(err, /lab\.yaml:4: machines\.a\.drives: there is no image named "missing"/);
  assert.match(err, /lab\.yaml:6: machines\.b: the MAC address [^\n]* belongs to machine "a"/);
  assert.match(err, /lab\.yaml:11: machines\.c\.chap\.secret: is missing/);
});
