import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExportRequest, LocalCommands } from '../../src/cli/mod.ts';
import { ok, setUp } from './cli-kit.ts';

test('a bench from nothing: an image, a machine, its drive, one special boot', async (t) => {
  const { cli, services } = await setUp(t);
  assert.match(
    ok(await cli('image create dos --preset dos --size 504M --note games')),
    /size: +504 MiB/,
  );
  ok(await cli('image add tools.iso'));
  assert.match(
    ok(await cli('machine add p4 --mac 5254.0000.0001 --drive dos --address 10.0.0.5')),
    /drive 0x80: +dos/,
  );
  assert.match(
    ok(await cli('machine set p4 --drive dos --drive tools:shared --note bench')),
    /drive 0x81: +tools:shared \(iqn\.2026-11\.org\.polyboot:p4\.1\)/,
  );
  assert.deepEqual(services.machines.show('p4').drives, [
    { image: 'dos', mode: 'exclusive' },
    { image: 'tools', mode: 'shared' },
  ]);
  assert.match(
    ok(await cli('machine boot p4 --plan local --once')),
    /next boot: +local disk, once/,
  );
  assert.match(
    ok(await cli('machine list')),
    /^NAME +MAC[^\n]*\np4 +52:54:00:00:00:01 +10\.0\.0\.5 +local disk \(once\) +dos, tools:shared/,
  );
  ok(await cli('machine boot p4 --cancel'));
  assert.equal(services.machines.show('p4').nextBoot, undefined);
  assert.match(
    ok(await cli('image list')),
    /^NAME[^\n]*\ndos +504 MiB +raw +p4 +games\ntools +[^\n]*p4:shared/,
  );
  assert.match(ok(await cli('image show dos')), /used by: +p4 \(drive 0x80, exclusive\)/);
  ok(await cli('machine set p4 --name pentium --address none --note none --drive none'));
  assert.equal(services.machines.show('pentium').address, undefined);
  assert.deepEqual(services.machines.show('pentium').drives, []);
  assert.equal(ok(await cli('machine rm pentium')), 'removed machine pentium\n');
  assert.equal(ok(await cli('image rm dos')), 'removed image dos\n');
});

test('every listing speaks JSON', async (t) => {
  const { cli, services } = await setUp(t);
  ok(await cli('image create dos --size 1G'));
  ok(await cli('machine add p4 --mac 52:54:00:00:00:01 --drive dos'));
  const inspected = await services.images.inspect('dos');
  const cases: [string, (json: unknown) => void][] = [
    ['machine list', (json) => assert.partialDeepStrictEqual(json, [{ name: 'p4' }])],
    ['machine show p4', (json) => assert.partialDeepStrictEqual(json, { name: 'p4' })],
    ['machine set p4 --note x', (json) => assert.partialDeepStrictEqual(json, { note: 'x' })],
    ['image list', (json) => assert.partialDeepStrictEqual(json, [{ name: 'dos' }])],
    [
      'image show dos',
      (json) => assert.partialDeepStrictEqual(json, { holders: [{ machine: 'p4' }] }),
    ],
    ['image inspect dos', (json) => assert.deepEqual(json, inspected)],
    ['image clone dos copy', (json) => assert.partialDeepStrictEqual(json, { name: 'copy' })],
    ['status --leases', (json) => assert.deepEqual(json, services.leases())],
    [
      'dump',
      (json) => assert.partialDeepStrictEqual(json, { machines: { p4: { drives: ['dos'] } } }),
    ],
  ];
  for (const [line, check] of cases) check(JSON.parse(ok(await cli(`${line} --json`))));
});

test('a boot plan is said by its parts, and parts that do not fit are refused', async (t) => {
  const { cli, services, folder } = await setUp(t);
  ok(await cli('machine add p4 --mac 52:54:00:00:00:01'));
  ok(await cli('machine set p4 --kernel vmlinuz --initrd a --initrd b --cmdline quiet'));
  ok(await cli('machine set p4 --cmdline debug'));
  assert.deepEqual(services.machines.show('p4').plan, {
    kind: 'kernel',
    kernel: 'vmlinuz',
    initrd: ['a', 'b'],
    cmdline: 'debug',
  });
  writeFileSync(join(folder, 'my.ipxe'), '#!ipxe\necho hello\n');
  ok(await cli('machine boot p4 --script-file my.ipxe'));
  assert.deepEqual(services.machines.show('p4').plan, {
    kind: 'script',
    text: '#!ipxe\necho hello\n',
  });
  for (const [line, text] of [
    ['machine set p4 --plan san --kernel x', /--kernel does not go with a san plan/],
    ['machine set p4 --plan kernel', /a kernel plan needs --kernel FILE/],
    ['machine set p4 --plan tape', /Allowed choices are san, kernel/],
    ['machine set p4 --script-file missing.ipxe', /missing\.ipxe cannot be read/],
    ['machine set p4 --drive a:b', /"a:b" is no drive/],
    ['machine set p4 --drive none --drive a', /does not go with other drives/],
    ['machine set p4', /nothing to set/],
    ['machine boot p4', /say what to boot/],
    ['machine boot p4 --cancel --plan san', /--cancel does not go/],
  ] as const) {
    const { code, err } = await cli(line);
    assert.equal(code, 2, line);
    assert.match(err, text);
  }
});

test('CHAP secrets come from files and are not shown', async (t) => {
  const { cli, services, folder } = await setUp(t);
  writeFileSync(join(folder, 'secret'), 'a-secret-of-p4\n');
  writeFileSync(join(folder, 'mutual'), 'a-secret-of-us\r\n');
  ok(await cli('machine add p4 --mac 52:54:00:00:00:01'));
  const out = ok(
    await cli(
      'machine set p4 --chap-user p4 --chap-secret-file secret --chap-mutual-user us --chap-mutual-secret-file mutual',
    ),
  );
  assert.match(out, /CHAP: +p4, and us/);
  assert.doesNotMatch(out, /a-secret/);
  assert.deepEqual(services.machines.show('p4').chap, {
    user: 'p4',
    secret: 'a-secret-of-p4',
    mutualUser: 'us',
    mutualSecret: 'a-secret-of-us',
  });
  assert.doesNotMatch(ok(await cli('machine show p4 --json')), /a-secret/);
  assert.equal((await cli('machine set p4 --chap-user p4')).code, 2);
  assert.equal((await cli('machine set p4 --chap-mutual-user us')).code, 2);
  ok(await cli('machine set p4 --chap-user none'));
  assert.equal(services.machines.show('p4').chap, undefined);
  writeFileSync(join(folder, 'short'), 'short');
  const short = await cli('machine set p4 --chap-user p4 --chap-secret-file short');
  assert.equal(short.code, 1);
  assert.match(short.err, /why: chap\.secret must have at least 12 characters/);
});

test('an error says what, why and what to do; exit 1 for refused, 2 for misused', async (t) => {
  const { cli } = await setUp(t);
  ok(await cli('image create dos --size 504M'));
  ok(await cli('machine add a --mac 52:54:00:00:00:01 --drive dos'));
  const held = await cli('machine add b --mac 52:54:00:00:00:02 --drive dos');
  assert.equal(held.code, 1);
  assert.equal(held.out, '');
  assert.match(
    held.err,
    /^polyboot: the image "dos" is held by machine "a" as drive 0 [^\n]*\n {2}why: [^\n]*\n {2}do: {2}/,
  );
  for (const [line, code] of [
    ['machine show nobody', 1],
    ['image rm dos', 1],
    ['machine add B_AD --mac 52:54:00:00:00:02', 1],
    ['machine add b', 2],
    ['machine', 2],
    ['machine frobnicate', 2],
    ['frobnicate', 2],
    ['machine show', 2],
    ['machine list --nonsense', 2],
    ['machine list extra', 2],
    ['image create x', 2],
    ['image create x --size huge', 2],
    ['watch --after soon', 2],
    ['export disk --port 99999', 2],
    ['export disk --chap user', 2],
    ['demo --firmware coreboot', 2],
    ['apply missing.yaml', 2],
  ] as const) {
    const ran = await cli(line);
    assert.equal(ran.code, code, `${line}: ${ran.err}`);
    assert.notEqual(ran.err, '', line);
  }
});

const IMAGE_WORDS =
  'create add import build list show inspect history usage clone export freeze overlay promote ' +
  'keep discard snapshot rollback flatten resize check repair rm';

test('help and version are done, not failed, and list no command that does not work', async (t) => {
  const { cli } = await setUp(t);
  assert.equal(ok(await cli('--version')), '0.1.0\n');
  const help = ok(await cli('--help'));
  for (const word of [
    'up',
    'demo',
    'doctor',
    'export',
    'image',
    'machine',
    'watch',
    'apply',
    'dump',
    'status',
  ])
    assert.match(help, new RegExp(`^ {2}${word} `, 'm'));
  const images = ok(await cli('image --help'));
  for (const word of IMAGE_WORDS.split(' ')) assert.match(images, new RegExp(`^ {2}${word} `, 'm'));
  assert.match(ok(await cli('machine set --help')), /--drive <IMAGE\[:MODE\]>/);
});

test('without a server: which socket, and how to start one', async (t) => {
  const { cli, server, socket } = await setUp(t);
  await server.close();
  const { code, err } = await cli('machine list');
  assert.equal(code, 1);
  assert.match(err, /^polyboot: the polyboot server is not running\n/);
  assert.ok(err.includes(`nobody listens on ${socket}`));
  assert.match(err, /do: {2}start it with `polyboot up`/);
  const other = await cli('--socket /nonexistent/admin.sock machine list');
  assert.match(other.err, /nobody listens on \/nonexistent\/admin\.sock/);
});

test('what was typed is refused in its own words: sizes without a unit, names that are none', async (t) => {
  const { cli, folder } = await setUp(t);
  const small = await cli('image create dos --size 2');
  assert.equal(small.code, 2);
  assert.match(small.err, /"2" is 2 B, and a disk has 512 bytes to 8 TiB\n.*a number and a unit/);
  assert.match((await cli('image create dos --size 9T')).err, /"9T" is 9 TiB/);
  for (const line of ['image show DOS', 'image create DOS --size 1G', 'machine show P_4']) {
    const { code, err } = await cli(line);
    assert.equal(code, 1);
    assert.match(err, /what was asked for is not right\n +why: name (is no|must be)/);
  }
  const lab = join(folder, 'lab.yaml');
  writeFileSync(lab, 'machines:\n  P_4: { macs: [] }\nimages:\n  Bad Name: { path: /x }\n');
  const { err } = await cli(`apply ${lab}`);
  assert.match(err, /lab\.yaml:2: machines\.P_4: must be a DNS label/);
  assert.match(err, /lab\.yaml:4: images\.Bad Name: is no image name/);
});

test('local commands are called with what was said, and their exit code counts', async (t) => {
  const { cli } = await setUp(t);
  const said: unknown[] = [];
  const local: LocalCommands = {
    up: (request) => Promise.resolve(said.push(['up', request])),
    demo: (request) => Promise.resolve(said.push(['demo', request])),
    doctor: (request) => Promise.resolve(said.push(['doctor', request])),
    export: (request: ExportRequest) => Promise.resolve(said.push(['export', request])),
    install: (request) => Promise.resolve(said.push(['install', request])),
    steerInstall: () => Promise.resolve(''),
    installs: () => Promise.resolve([]),
  };
  assert.equal((await cli('up --config lab.yaml', { local })).code, 1);
  assert.equal((await cli('demo --firmware bios', { local })).code, 2);
  assert.equal((await cli('doctor --json', { local })).code, 3);
  await cli(
    'export disk.img --port 0 --read-only --cache writethrough --chap u --chap-secret-file f --digests',
    { local },
  );
  await cli('export disk.img', { local });
  const plain = { file: 'disk.img', listen: '127.0.0.1', removable: false, cdrom: false };
  assert.deepEqual(said, [
    ['up', { config: 'lab.yaml' }],
    ['demo', { firmware: 'bios' }],
    ['doctor', { json: true }],
    [
      'export',
      {
        ...plain,
        port: 0,
        readOnly: true,
        cache: 'writethrough',
        digests: true,
        chapUser: 'u',
        chapSecretFile: 'f',
      },
    ],
    ['export', { ...plain, port: 3260, readOnly: false, cache: 'writeback', digests: false }],
  ]);
  const denied = Object.assign(new Error("EACCES: permission denied, mkdir '/run/polyboot'"), {
    code: 'EACCES',
  });
  const refused = await cli('up', { local: { up: () => Promise.reject(denied) } });
  assert.equal(refused.code, 1);
  assert.match(refused.err, /does not allow it\n +why: EACCES.*\/run\/polyboot'\n +do: .*sudo/);
  const failed = await cli('up', { local: { up: () => Promise.reject(new TypeError('oops')) } });
  assert.equal(failed.code, 1);
  assert.match(failed.err, /mistake in polyboot\n +why: TypeError: oops/);
});

test('inspect shows partitions, geometry and warnings, and nothing that a disk smuggles in', async (t) => {
  const { cli } = await setUp(t);
  ok(await cli('image create dos --size 504M'));
  const out = ok(await cli('image inspect dos', { isTty: true, env: { NO_COLOR: '1' } }));
  assert.match(out, /C\/H\/S: +1024\/16\/63 as iPXE will guess it/);
  assert.match(out, /BIOS: +boots: partition 1 is active\nUEFI: +does not boot: no EFI/);
  assert.match(out, /NO +TYPE +START[^\n]*\n1 +FAT16 +63 +504 MiB +yes +FAT16 "DOS\\x1b\[31m"/);
  assert.match(out, /warning: something is odd/);
  assert.ok(!out.includes('\u001b'));
});

test('long work shows a bar on a terminal, lines elsewhere, and Ctrl-C cancels it', async (t) => {
  const { start, services } = await setUp(t);
  for (const isTty of [true, false]) {
    const building = new Promise<void>((resolve) => {
      services.images.onBuild = resolve;
    });
    const build = start(`image build deb-${String(isTty)} --recipe debian --package vim`, {
      isTty,
      env: { NO_COLOR: '1' },
    });
    await building;
    const { work, finish } = services.images.running ?? assert.fail();
    work.progress?.({ phase: 'unpack', doneBytes: 50, totalBytes: 100 });
    await build.until(isTty ? /unpack \[█+ +\] {2}50 %/ : /unpack 50 B of 100 B\n/);
    finish();
    const ran = await build.done;
    assert.match(ok(ran), /source: +recipe debian/);
    assert.equal(ran.err.includes('\r'), isTty);
  }
  const building = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  const cancelled = start('image build other');
  await building;
  cancelled.stop.abort();
  const ran = await cancelled.done;
  assert.equal(ran.code, 1);
  assert.match(ran.err, /cancelled; nothing was kept/);
  assert.equal(services.images.has('other'), false);
});

test('status names services, where they listen, and who is logged in; a failed one fails it', async (t) => {
  const { cli } = await setUp(t);
  const { code, out } = await cli('status');
  assert.equal(code, 1);
  assert.match(out, /iscsi +up +10\.0\.0\.1:3260 +logins 1/);
  assert.match(out, /dhcp +failed +port taken/);
  assert.match(out, /p4 +iqn\.2026-11\.org\.polyboot:p4\.0 +10\.0\.0\.5:1024/);
  assert.match((await cli('status --leases')).out, /10\.0\.0\.5 +52:54:00:00:00:01 +p4 +bound/);
});
