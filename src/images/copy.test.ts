import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { copySparse, reflink } from './copy.ts';

const KIB = 1024;

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-copy-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

test('sparse copy: any pattern of data, holes and zeros arrives byte by byte', async (t) => {
  const folder = folderFor(t);
  const run = fc.record({
    at: fc.nat(3000 * KIB),
    length: fc.integer({ min: 1, max: 300 * KIB }),
    fill: fc.constantFrom(0, 1, 255),
  });
  const size = fc.integer({ min: 1, max: 3500 * KIB });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 6 }), size, async (runs, sizeBytes) => {
      const from = openSync(join(folder, 'from'), 'w+');
      const to = openSync(join(folder, 'to'), 'w+');
      for (const r of runs) writeSync(from, Buffer.alloc(r.length, r.fill), 0, r.length, r.at);
      ftruncateSync(from, sizeBytes);
      const steps: number[] = [];
      await copySparse(from, to, sizeBytes, { copied: (n) => steps.push(n) });
      closeSync(from);
      closeSync(to);
      assert.ok(readFileSync(join(folder, 'from')).equals(readFileSync(join(folder, 'to'))));
      assert.deepEqual(
        [...steps].sort((a, b) => a - b),
        steps,
      );
      assert.equal(steps.at(-1), sizeBytes);
    }),
    { numRuns: 40, seed: 3 },
  );
});

test('sparse copy: zeros that take space in the source take none in the copy', async (t) => {
  const folder = folderFor(t);
  writeFileSync(join(folder, 'from'), Buffer.alloc(2048 * KIB));
  const from = openSync(join(folder, 'from'), 'r');
  const to = openSync(join(folder, 'to'), 'w+');
  await copySparse(from, to, 2048 * KIB);
  closeSync(from);
  closeSync(to);
  assert.equal(statSync(join(folder, 'to')).blocks, 0);
});

test('sparse copy: a source that became shorter is an error, not zeros', async (t) => {
  const folder = folderFor(t);
  writeFileSync(join(folder, 'from'), Buffer.alloc(2048 * KIB, 1));
  const from = openSync(join(folder, 'from'), 'r+');
  const to = openSync(join(folder, 'to'), 'w+');
  let cut = false;
  const copied = (): void => {
    if (!cut) ftruncateSync(from, 10);
    cut = true;
  };
  await assert.rejects(copySparse(from, to, 2048 * KIB, { copied }), { code: 'short-read' });
  closeSync(from);
  closeSync(to);
});

test('sparse copy: a cancel ends it within one chunk', async (t) => {
  const folder = folderFor(t);
  writeFileSync(join(folder, 'from'), Buffer.alloc(8192 * KIB, 1));
  const from = openSync(join(folder, 'from'), 'r');
  const to = openSync(join(folder, 'to'), 'w+');
  const abort = new AbortController();
  const steps: number[] = [];
  const copied = (doneBytes: number): void => {
    steps.push(doneBytes);
    abort.abort(new Error('enough'));
  };
  const { signal } = abort;
  await assert.rejects(copySparse(from, to, 8192 * KIB, { copied, signal }), /enough/);
  assert.deepEqual(steps, [1024 * KIB]);
  closeSync(from);
  closeSync(to);
});

test('reflink: shares or says that it cannot, and never replaces a file', async (t) => {
  const folder = folderFor(t);
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  writeFileSync(from, 'data');
  const shared = await reflink(from, to);
  if (shared) assert.equal(readFileSync(to, 'utf8'), 'data');
  else assert.equal(statSync(to, { throwIfNoEntry: false }), undefined);
  await assert.rejects(reflink(join(folder, 'none'), join(folder, 'x')), { code: 'ENOENT' });
});
