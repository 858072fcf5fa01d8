import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { Tally } from './tier.ts';

type Run = { readonly code: number; readonly out: string; readonly err: string };

/** Runs Node as a terminal would: not as the child of a test, for which `run` does nothing. */
function node(args: readonly string[], cwd = process.cwd()): Promise<Run> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env, cwd }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

const MAIN = join(import.meta.dirname, 'main.ts');

test('a typing error is no success', async () => {
  for (const [args, told] of [
    [['--tier', 'unti'], /no tier "unti"; there are checks, unit/],
    [['--tier', 'unit', '--tier', 'unti', 'tools/check/rules'], /no tier "unti"/],
    [['--tier'], /no tier ""/],
    [['--fsat'], /no option "--fsat"/],
    [['tools/check/rules', 'tools/check/rulse'], /"tools\/check\/rulse"/],
  ] as const) {
    const { code, out, err } = await node([MAIN, ...args]);
    assert.equal(code, 2, `${args.join(' ')}: ${out}${err}`);
    assert.match(err, told);
  }
});

test('it can be started from anywhere', async () => {
  const { code, out } = await node([MAIN, 'tools/check/rules'], tmpdir());
  assert.match(out, /\n[1-9]\d* passed, 0 failed, \d+ skipped\n$/);
  assert.equal(code, 0);
});

async function tallyOf(t: TestContext, body: string): Promise<Tally> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-runner-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'one.test.mjs');
  await writeFile(file, `import { describe, test } from 'node:test';\n${body}\n`);
  const tier = { name: 'tier', fast: true, patterns: [], concurrency: 1 };
  const script = `
    import { runTier } from ${JSON.stringify(join(import.meta.dirname, 'tier.ts'))};
    const tally = await runTier(${JSON.stringify(tier)}, [${JSON.stringify(file)}]);
    process.stdout.write('\\n' + JSON.stringify(tally));`;
  const runner = join(folder, 'runner.mjs');
  await writeFile(runner, script);
  const { out } = await node([runner]);
  return JSON.parse(out.slice(out.lastIndexOf('\n'))) as Tally;
}

test('a file that ran none of its tests, or not all, has failed', async (t) => {
  const none = { passed: 0, failed: 1, skipped: 0 };
  assert.deepEqual(await tallyOf(t, ''), none);
  assert.deepEqual(await tallyOf(t, `describe('nothing', () => {});`), none);
  const cut = `test('a', () => {}); test('b', () => process.exit(0)); test('c', () => { throw 1; });`;
  assert.equal((await tallyOf(t, cut)).failed, 1);
  const good = `test('a', () => {}); test('b', { skip: 'why' }, () => {});`;
  assert.deepEqual(await tallyOf(t, good), { passed: 1, failed: 0, skipped: 1 });
});
