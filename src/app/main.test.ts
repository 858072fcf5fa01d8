import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const MAIN = join(import.meta.dirname, '../main.ts');

type Ended = { readonly code: number | null; readonly stderr: string };

/** Runs `--help` with this standard output ('pipe': one that nobody reads). */
async function help(stdout: 'pipe' | number): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, '--help'], { stdio: ['ignore', stdout, 'pipe'] });
  child.stdout?.destroy();
  let stderr = '';
  child.stderr?.on('data', (part: Buffer) => {
    stderr += part.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

test('nobody reads the output any more (| head): no word of it', async () => {
  assert.deepEqual(await help('pipe'), { code: 0, stderr: '' });
});

test('the output goes to a full disk: said in one line, and the exit code is 1', async () => {
  const fd = openSync('/dev/full', 'w');
  try {
    const { code, stderr } = await help(fd);
    assert.match(stderr, /^polyboot: the output could not be written: ENOSPC[^\n]*\n$/);
    assert.equal(code, 1);
  } finally {
    closeSync(fd);
  }
});
