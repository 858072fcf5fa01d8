import { glob } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { runChecks } from './checks.ts';
import { runTier, type Tier, type Tally } from './tier.ts';

/**
 * `./polyboot test [--fast|--nightly] [--tier NAME]… [PATTERN…]`: the whole suite, as CI runs it.
 *
 * `--fast` leaves out everything that starts a virtual machine or races a real peer for long;
 * `--nightly` gives the fuzzers and the crash loops ten times as many cases. A PATTERN keeps the
 * test files whose path contains it. Exit code 0 only when nothing failed and, under `CI=true`,
 * nothing was skipped; 2 when a tier, an option or a PATTERN is none: it must not pass by a typing
 * error.
 */
const cores = cpus().length;

// Virtual machines under TCG want a core each; two at once is what a two-core machine bears.
const TIERS: readonly Tier[] = [
  {
    name: 'unit',
    fast: true,
    patterns: ['src/**/*.test.ts', 'tools/**/*.test.ts', 'test/lab/**/*.test.ts'],
    concurrency: cores,
  },
  { name: 'sim', fast: false, patterns: ['test/{sim,fuzz}/**/*.test.ts'], concurrency: cores },
  { name: 'conformance', fast: false, patterns: ['test/conformance/**/*.test.ts'], concurrency: 2 },
  { name: 'interop', fast: false, patterns: ['test/interop/**/*.test.ts'], concurrency: 2 },
  { name: 'crash', fast: false, patterns: ['test/{crash,hostile}/**/*.test.ts'], concurrency: 2 },
  {
    name: 'boot',
    fast: false,
    patterns: ['test/{boot,initiators}/**/*.test.ts'],
    concurrency: 2,
  },
];

type Options = { fast: boolean; tiers: string[]; patterns: string[] };

/** The checks are chosen like a tier. */
const CHECKS = 'checks';
const MISUSED = 2;

function parse(argv: readonly string[]): Options {
  const options: Options = { fast: false, tiers: [], patterns: [] };
  const rest = [...argv];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === '--fast') options.fast = true;
    else if (arg === '--nightly') process.env['POLYBOOT_NIGHTLY'] = '1';
    else if (arg === '--tier') options.tiers.push(rest.shift() ?? '');
    else options.patterns.push(arg);
  }
  return options;
}

/** What of the command line means nothing, in words; undefined when all is well. */
async function misuse({ tiers, patterns }: Options): Promise<string | undefined> {
  const names = [CHECKS, ...TIERS.map((t) => t.name)];
  const tier = tiers.find((name) => !names.includes(name));
  if (tier !== undefined) return `there is no tier "${tier}"; there are ${names.join(', ')}`;
  const option = patterns.find((p) => p.startsWith('-'));
  if (option !== undefined) return `there is no option "${option}"`;
  const all = (await Promise.all(TIERS.map((t) => filesOf(t, [])))).flat();
  const pattern = patterns.find((p) => !all.some((file) => file.includes(p)));
  return pattern === undefined ? undefined : `no test file has "${pattern}" in its path`;
}

async function filesOf(tier: Tier, patterns: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for await (const file of glob([...tier.patterns])) files.push(file);
  const wanted = (f: string): boolean =>
    patterns.length === 0 || patterns.some((p) => f.includes(p));
  return files.filter(wanted).sort();
}

async function main(argv: readonly string[]): Promise<number> {
  // Patterns and tools are named from the root, wherever the command was typed.
  process.chdir(join(import.meta.dirname, '../..'));
  const options = parse(argv);
  const wrong = await misuse(options);
  if (wrong !== undefined) {
    process.stderr.write(`polyboot test: ${wrong}\n`);
    return MISUSED;
  }
  const startedMs = performance.now();
  const total: Tally = { passed: 0, failed: 0, skipped: 0 };
  const add = (t: Tally): void => {
    total.passed += t.passed;
    total.failed += t.failed;
    total.skipped += t.skipped;
  };
  const chosen = options.tiers.length > 0 || options.patterns.length > 0;
  if (!chosen || options.tiers.includes(CHECKS)) add(await runChecks());
  for (const tier of TIERS) {
    if (options.tiers.length > 0 && !options.tiers.includes(tier.name)) continue;
    if (options.fast && !tier.fast) continue;
    const files = await filesOf(tier, options.patterns);
    if (files.length > 0) add(await runTier(tier, files));
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`\n${seconds} s\n`);
  process.stdout.write(
    `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`,
  );
  if (total.passed === 0) return 1;
  if (process.env['CI'] === 'true' && total.skipped > 0) return 1;
  return total.failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
