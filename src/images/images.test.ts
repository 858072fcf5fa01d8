import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { checkImageName, nameFromPath } from '#images/mod.ts';
import { tarOf } from './tar.ts';
import { runTool } from './tool.ts';

test('a name made from any path is a good name', () => {
  const paths = [
    '/a/Win 98 SE.img',
    '/dev/zvol/tank/pc',
    '...',
    '/x/ÄÖ.iso',
    '/y/-a.img',
    '/z/A.B.raw',
  ];
  for (const path of paths) checkImageName(nameFromPath(path));
  assert.equal(nameFromPath('/a/Win 98 SE.img'), 'win-98-se');
});

test('tar: what tar(1) lists is what was put in', () => {
  const bytes = tarOf(
    [
      { path: 'etc/x', mode: 0o750 },
      { path: 'etc/x/file', mode: 0o600, content: 'hello' },
      { path: 'etc/x/link', mode: 0o777, linkTo: '/dev/null' },
      { path: 'big', mode: 0o644, content: new Uint8Array(1300).fill(65) },
    ],
    Date.UTC(2026, 0, 2),
  );
  const list = execFileSync('tar', ['-tv', '--numeric-owner', '-f', '-'], { input: bytes });
  const lines = list.toString().trim().split('\n');
  assert.deepEqual(
    lines.map((l) => [l.split(/\s+/)[0], l.split(/\s+/)[2], l.replace(/.*:\d\d /, '')]),
    [
      ['drwxr-x---', '0', 'etc/x/'],
      ['-rw-------', '5', 'etc/x/file'],
      ['lrwxrwxrwx', '0', 'etc/x/link -> /dev/null'],
      ['-rw-r--r--', '1300', 'big'],
    ].map(([mode, size, path]) => [mode, size, path === 'etc/x/' ? 'etc/x' : path]),
  );
});

const sh = (script: string): { command: string; args: string[]; debianPackage: string } => ({
  command: 'sh',
  args: ['-c', script],
  debianPackage: 'dash',
});

test('tools: lines are passed on; a failure says the last of them', async () => {
  const lines: string[] = [];
  await runTool({ ...sh('echo a; echo b >&2'), line: (l) => lines.push(l) });
  assert.deepEqual(lines.sort(), ['a', 'b']);
  await assert.rejects(runTool(sh('echo no room >&2; exit 3')), /failed \(3\)[^]*no room/);
});

test('tools: a missing one is named with its package', async () => {
  const run = runTool({ command: 'polyboot-no-such', args: [], debianPackage: 'some-package' });
  await assert.rejects(run, /is not installed[^]*apt-get install some-package/);
});

test('tools: a child that is left behind neither holds us up nor lives on', async () => {
  const lines: string[] = [];
  await runTool({ ...sh('sleep 1000 & echo $!'), line: (l) => lines.push(l) });
  // Killed, it may be a zombie for a moment.
  const state = execFileSync('sh', ['-c', `cat /proc/${lines[0]}/stat 2>/dev/null || echo gone`]);
  assert.match(state.toString(), /^gone|\) [ZX] /);
});

test('tools: a cancel ends the tool and its children, and rejects with the reason', async () => {
  const abort = new AbortController();
  const lines: string[] = [];
  const run = runTool({
    ...sh('trap "echo cleaned; exit 1" TERM; sleep 1000 & echo started; wait'),
    signal: abort.signal,
    line: (l) => {
      lines.push(l);
      if (l === 'started') abort.abort(new Error('stop'));
    },
  });
  await assert.rejects(run, /stop/);
  assert.deepEqual(lines, ['started', 'cleaned']);
});
