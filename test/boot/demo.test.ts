import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { need } from '../lab/need.ts';
import { Running } from '../lab/process.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const NEEDS = {
  root: true,
  tools: ['qemu-system-x86_64', 'mmdebstrap', 'unshare', 'ip'],
  files: ['/usr/share/OVMF', '/usr/lib/ipxe/ipxe.lkrn'],
};
/** A start that finds no packages kept makes them: a minute, and much more on a busy host. */
const BUILD_LIMIT_MS = 600_000;

async function start(
  t: TestContext,
  ...args: string[]
): Promise<{ folder: string; demo: Running }> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot try, #: '));
  // A group of its own, as a terminal's foreground is one: Ctrl-C reaches all of it.
  const demo = new Running(process.execPath, [MAIN, 'demo', ...args], {
    env: { ...process.env, TMPDIR: folder },
    detached: true,
  });
  t.after(async () => {
    if (demo.running) process.kill(-demo.pid, 'SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });
  return { folder, demo };
}

for (const { moment, pattern } of [
  { moment: 'while the image is built', pattern: /^ {2}\S/m },
  { moment: 'while the machine boots', pattern: /Power on/ },
]) {
  test(`Ctrl-C ${moment}: the demonstration ends and leaves nothing`, async (t) => {
    if (!need(t, NEEDS)) return;
    const { folder, demo } = await start(t);
    await demo.waitFor(pattern, BUILD_LIMIT_MS);
    process.kill(-demo.pid, 'SIGINT');
    const { code, stderr } = await demo.finished();
    assert.equal(code, 1, stderr);
    assert.equal(stderr, '');
    assert.deepEqual(await readdir(folder), []);
  });
}
