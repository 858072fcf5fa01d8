import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { debLines, hostSources, parseDeb822, parseOneLine } from './apt-sources.ts';
import { buildMode } from './build-mode.ts';
import { baseHash } from './debian-base.ts';
import data from './debian.json' with { type: 'json' };
import { basePackages, type BuildRequest, planDebian } from './debian-options.ts';
import { patchBoot, patchCore } from './grub.ts';
import { findRecipe } from './recipe.ts';
import { rootFiles } from './root-files.ts';

const ONE_LINE = `
# deb http://off.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # the mirror
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://s.example/sec bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb [signed-by=/k.gpg] https://node.example/node_20.x nodistro main
`;
const DEB822 = `
Types: deb deb-src
URIs: http://a.example/debian
  http://b.example/debian
Suites: trixie trixie-updates
Components: main
# a comment
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: trixie
Components: main
`;

test('apt: one-line and deb822 sources', () => {
  const one = parseOneLine(ONE_LINE);
  assert.deepEqual(
    one.map((s) => [s.uri, s.suite, s.components.join(), s.signedBy !== undefined]),
    [
      ['http://mirror.example/debian', 'bookworm', 'main,contrib', false],
      ['http://s.example/sec', 'bookworm-security', 'main', true],
      ['https://node.example/node_20.x', 'nodistro', 'main', true],
    ],
  );
  assert.deepEqual(
    parseDeb822(DEB822).map((s) => `${s.uri} ${s.suite}`),
    [
      'http://a.example/debian trixie',
      'http://a.example/debian trixie-updates',
      'http://b.example/debian trixie',
      'http://b.example/debian trixie-updates',
    ],
  );
});

test("apt: only Debian's own archives are used, aimed at the release that is built", () => {
  assert.deepEqual(debLines(parseOneLine(ONE_LINE), 'trixie'), [
    'deb http://mirror.example/debian trixie main',
    'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://s.example/sec trixie-security main',
  ]);
  assert.throws(() => debLines([], 'bookworm'), { code: 'no-mirror' });
});

test('apt: the list of mirrors of a cloud image', () => {
  const root = mkdtempSync(join(tmpdir(), 'polyboot-apt-'));
  try {
    for (const folder of ['sources.list.d', 'mirrors']) {
      mkdirSync(join(root, 'etc/apt', folder), { recursive: true });
    }
    const uri = 'mirror+file:///etc/apt/mirrors/debian.list';
    const stanza = `Types: deb\nURIs: ${uri}\nSuites: bookworm\nComponents: main\n`;
    writeFileSync(join(root, 'etc/apt/sources.list.d/debian.sources'), stanza);
    const mirrors =
      '# near first\nhttps://near.example/debian\tpriority:1\nhttps://far.example/d\n';
    writeFileSync(join(root, 'etc/apt/mirrors/debian.list'), mirrors);
    const near = ['deb https://near.example/debian trixie main'];
    assert.deepEqual(debLines(hostSources(root), 'trixie'), near);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('apt: the files of a host, in both formats and places', () => {
  const root = mkdtempSync(join(tmpdir(), 'polyboot-apt-'));
  try {
    assert.deepEqual(hostSources(root), []);
    const folder = join(root, 'etc/apt/sources.list.d');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(root, 'etc/apt/sources.list'), 'deb http://l.example/d bookworm main\n');
    writeFileSync(join(folder, 'x.sources'), DEB822);
    writeFileSync(join(folder, 'x.disabled'), ONE_LINE);
    assert.equal(hostSources(root).length, 5);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('build request: everything wrong is told at once', () => {
  const request: BuildRequest = {
    recipe: 'debian',
    release: 'sarge',
    hostName: 'a b',
    packages: ['vim', 'x; rm -rf /'],
    users: [{ name: 'Root', password: 'a\nroot:x' }],
    sshKeys: ['not a key'],
    reportPort: 0,
  };
  assert.throws(
    () => planDebian(data, request, 'x'),
    (e: Error) => {
      for (const part of ['sarge', 'a b', 'rm -rf', 'Root', 'password of', 'not a key', 'port 0']) {
        assert.ok(e.message.includes(part), part);
      }
      return true;
    },
  );
});

test('build request: defaults, and a host name from any image name', () => {
  const plan = planDebian(data, { recipe: 'debian' }, 'my.image_1');
  assert.deepEqual(
    [plan.release, plan.kernelName, plan.hostName],
    ['bookworm', 'cloud', 'my-image-1'],
  );
  assert.ok(basePackages(plan).includes('linux-image-cloud-amd64'));
  assert.ok(!basePackages(plan).includes('openssh-server'));
});

test('base: reused for another name, users and size; not for other packages or release', () => {
  const lines = ['deb http://m.example/debian bookworm main'];
  const hash = (more: Partial<BuildRequest>, name = 'a'): string =>
    baseHash(planDebian(data, { recipe: 'debian', ...more }, name), lines);
  assert.equal(hash({ hostName: 'x', rootPassword: 'y', sizeBytes: 3e9 }, 'b'), hash({}));
  assert.notEqual(hash({ packages: ['vim'] }), hash({}));
  assert.equal(hash({ packages: ['vim', 'nano', 'vim'] }), hash({ packages: ['nano', 'vim'] }));
  assert.notEqual(hash({ release: 'trixie' }), hash({}));
  assert.notEqual(hash({ kernel: 'generic' }), hash({}));
  assert.notEqual(baseHash(planDebian(data, { recipe: 'debian' }, 'a'), []), hash({}));
});

test('root files: secrets are only in the folder that the setup removes', () => {
  const key = 'ssh-ed25519 AAAA root@x';
  const plan = planDebian(
    data,
    { recipe: 'debian', rootPassword: 'pässword', sshKeys: [key], users: [{ name: 'ann' }] },
    'pc',
  );
  for (const entry of rootFiles(plan, 'pb-1')) {
    const text = String(entry.content ?? '');
    if (text.includes('pässword') || text.includes(key)) {
      assert.match(entry.path, /^\.polyboot-setup\//);
      assert.equal(entry.mode, 0o600);
    }
    assert.ok(!entry.path.startsWith('/') && !entry.path.includes('..'));
  }
});

test('GRUB: the four fields, and nothing else, are changed', () => {
  const boot = new Uint8Array(512).fill(0x11);
  const patched = patchBoot(boot, 2048);
  assert.equal(patched.length, 440);
  const changed = [...patched.entries()].filter(([, b]) => b !== 0x11).map(([at]) => at);
  assert.deepEqual(changed, [0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x66, 0x67]);
  assert.equal(new DataView(patched.buffer).getBigUint64(0x5c, true), 2048n);
  const core = patchCore(new Uint8Array(1300).fill(0x22), 2048, 2048);
  const view = new DataView(core.buffer);
  assert.equal(core.length, 1536);
  assert.equal(view.getBigUint64(500, true), 2049n);
  assert.deepEqual([view.getUint16(508, true), view.getUint16(510, true)], [2, 0x820]);
  assert.throws(() => patchCore(new Uint8Array(5000), 2048, 4), /needs 10 sectors/);
});

test('build mode: root, a user, and the root of a namespace that can do neither', () => {
  assert.equal(buildMode(0, '         0          0 4294967295\n'), 'root');
  assert.equal(buildMode(1000, '0 0 4294967295'), 'unshare');
  assert.throws(() => buildMode(0, '         0       1000          1\n'), {
    code: 'nested-namespace',
  });
});

test('the first-boot script is checked, runs once, and is not there when nobody asked for it', () => {
  const names = (request: Partial<BuildRequest>): string[] =>
    rootFiles(planDebian(data, { recipe: 'debian', ...request }, 'pc'), 'pb-1').map((f) => f.path);
  const unit = 'etc/systemd/system/polyboot-first-boot.service';
  assert.ok(!names({}).includes(unit));
  assert.ok(names({ firstBoot: '#!/bin/sh\ntrue\n' }).includes(unit));
  for (const firstBoot of ['true', `#!/bin/sh\n${'#'.repeat(70_000)}`, '#!/bin/sh\n\0']) {
    assert.throws(() => names({ firstBoot }), { code: 'build-request' });
  }
});

test('a recipe that is not there is refused with those that are', () => {
  assert.equal(findRecipe('debian').name, 'debian');
  assert.throws(() => findRecipe('beos'), /choose one of: debian/);
});
