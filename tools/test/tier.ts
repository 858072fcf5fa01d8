import { relative } from 'node:path';
import { run } from 'node:test';
import type { TestEvent } from 'node:test/reporters';

export type Tier = {
  readonly name: string;
  /** Part of `--fast`. */
  readonly fast: boolean;
  readonly patterns: readonly string[];
  /** Test files that run at once, a process each. */
  readonly concurrency: number;
};

export type Tally = { passed: number; failed: number; skipped: number };

type FileTally = Tally & { ms: number };

/**
 * No test file may take longer; a hang becomes a failure that names the file. The longest take five
 * minutes on four processors, and four times that where everything is slow.
 */
const FILE_LIMIT_MS = 60 * 60_000;
/** Ten times the cases. */
const NIGHTLY_FILE_LIMIT_MS = 4 * FILE_LIMIT_MS;

/** Runs the files of one tier; prints failures and skips as they come, then a line per file. */
export async function runTier(tier: Tier, files: readonly string[]): Promise<Tally> {
  process.stdout.write(`\n── ${tier.name}: ${files.length} files\n`);
  const { concurrency } = tier;
  const nightly = process.env['POLYBOOT_NIGHTLY'] === '1';
  const timeout = nightly ? NIGHTLY_FILE_LIMIT_MS : FILE_LIMIT_MS;
  const stream = run({ files: [...files], concurrency, timeout });
  const perFile = new Map<string, FileTally>();
  const whole = new Set<string>();
  for await (const event of stream) {
    note(event, perFile);
    if (event.type === 'test:summary' && event.data.counts.tests > 0) {
      if (event.data.file !== undefined) whole.add(fromHere(event.data.file));
    }
  }
  for (const file of files) if (!whole.has(fromHere(file))) failCutShort(fromHere(file), perFile);
  const total: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const [file, tally] of [...perFile].sort((a, b) => b[1].ms - a[1].ms)) {
    const failed = tally.failed > 0 ? `, ${tally.failed} FAILED` : '';
    const seconds = (tally.ms / 1000).toFixed(1).padStart(7);
    process.stdout.write(`${seconds} s  ${file}  ${tally.passed} passed${failed}\n`);
    total.passed += tally.passed;
    total.failed += tally.failed;
    total.skipped += tally.skipped;
  }
  return total;
}

/**
 * A file without a test, or whose process ended by itself amid its tests, exits with 0: nothing
 * failed because nothing ran.
 */
function failCutShort(file: string, perFile: Map<string, FileTally>): void {
  const tally = perFile.get(file) ?? { passed: 0, failed: 0, skipped: 0, ms: 0 };
  perFile.set(file, tally);
  if (tally.failed > 0) return;
  tally.failed += 1;
  process.stdout.write(`  FAIL  ${file}: it has no test, or ended before its last one\n`);
}

function fromHere(path: string): string {
  return relative(process.cwd(), path);
}

function note(event: TestEvent, perFile: Map<string, FileTally>): void {
  if (event.type === 'test:stderr' || event.type === 'test:stdout') {
    process.stdout.write(`${indent(event.data.message.trimEnd())}\n`);
    return;
  }
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return;
  const { data } = event;
  const file = fromHere(data.file ?? data.name);
  const tally = perFile.get(file) ?? { passed: 0, failed: 0, skipped: 0, ms: 0 };
  perFile.set(file, tally);
  if (data.nesting === 0) tally.ms += data.details.duration_ms;
  if (event.type === 'test:fail') {
    const { error } = event.data.details;
    // A parent whose child failed says nothing new; the child was printed already.
    if (/^\d+ subtests? failed/.test(error.message)) return;
    tally.failed += 1;
    process.stdout.write(`  FAIL  ${file}: ${data.name}\n${indent(detail(error))}\n`);
  } else if (data.details.type === 'suite' || fromHere(data.name) === file) {
    return;
  } else if (data.skip === undefined) {
    tally.passed += 1;
  } else {
    tally.skipped += 1;
    process.stdout.write(`  skip  ${data.name}: ${String(data.skip)}\n`);
  }
}

function detail(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : (error.stack ?? error.message);
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '        ');
}
