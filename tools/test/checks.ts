import { execFile } from 'node:child_process';
import type { Tally } from './tier.ts';

/** What is judged without running the program: types, lint, format, dead code, house rules. */
const CHECKS: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: 'types', command: ['node_modules/.bin/tsc', '--noEmit'] },
  { name: 'lint', command: ['node_modules/.bin/oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'format', command: ['node_modules/.bin/oxfmt', '--check', '.'] },
  { name: 'house rules', command: [process.execPath, 'tools/check/main.ts'] },
];

/** Runs all checks at once; each counts as one passed or failed test. */
export async function runChecks(): Promise<Tally> {
  process.stdout.write('── checks\n');
  const results = await Promise.all(
    CHECKS.map(async (c) => ({ ...c, ...(await execute(c.command)) })),
  );
  for (const r of results) {
    process.stdout.write(`  ${r.ok ? 'ok  ' : 'FAIL'}  ${r.name}\n`);
    if (!r.ok) process.stdout.write(`${r.output.slice(-8_000)}\n`);
  }
  const failed = results.filter((r) => !r.ok).length;
  return { passed: results.length - failed, failed, skipped: 0 };
}

function execute(command: readonly string[]): Promise<{ ok: boolean; output: string }> {
  const [file = '', ...args] = command;
  return new Promise((resolve) => {
    execFile(file, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ ok: error === null, output: stdout + stderr });
    });
  });
}
