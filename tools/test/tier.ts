import { run } from 'node:test';

export type Tier = {
  readonly name: string;
  /** Part of `--fast`. */
  readonly fast: boolean;
  readonly patterns: readonly string[];
  /** Test files that run at once, a process each. */
  readonly concurrency: number;
};

export type Tally = { passed: number; failed: number; skipped: number };

/** No test file may take longer; a hang becomes a failure that names the file. */
const FILE_LIMIT_MS = 15 * 60_000;

/** Runs the files of one tier and prints a line per file, with every failure and skip in full. */
export async function runTier(tier: Tier, files: readonly string[]): Promise<Tally> {
  const total: Tally = { passed: 0, failed: 0, skipped: 0 };
  process.stdout.write(`\n── ${tier.name}: ${files.length} files\n`);
  const stream = run({
    files: [...files],
    concurrency: tier.concurrency,
    timeout: FILE_LIMIT_MS,
  });
  const perFile = new Map<string, Tally & { ms: number }>();
  const of = (file: string | undefined): Tally & { ms: number } => {
    const key = file ?? '?';
    const found = perFile.get(key) ?? { passed: 0, failed: 0, skipped: 0, ms: 0 };
    perFile.set(key, found);
    return found;
  };
  for await (const { type, data } of stream) {
    if (type === 'test:pass') {
      if (isFile(data)) printFile(data.name, of(data.file ?? data.name), data.details.duration_ms);
      else if (data.details.type === 'suite') continue;
      else if (data.skip !== undefined) {
        of(data.file).skipped += 1;
        process.stdout.write(`  skip  ${data.name}: ${String(data.skip)}\n`);
      } else of(data.file).passed += 1;
    } else if (type === 'test:fail') {
      // A parent whose child failed says nothing new; the child was printed already.
      if (isFile(data)) printFile(data.name, of(data.file ?? data.name), data.details.duration_ms);
      const error = data.details.error;
      if (error.message.includes('subtest')) continue;
      of(data.file).failed += 1;
      process.stdout.write(`  FAIL  ${data.file ?? ''}: ${data.name}\n${indent(detail(error))}\n`);
    } else if (type === 'test:stderr' || type === 'test:stdout') {
      process.stdout.write(indent(data.message.trimEnd()) + '\n');
    }
  }
  for (const t of perFile.values()) {
    total.passed += t.passed;
    total.failed += t.failed;
    total.skipped += t.skipped;
  }
  return total;
}

/** With process isolation each file reports itself once more, as a test named by its path. */
function isFile(data: { name: string; nesting: number }): boolean {
  return data.nesting === 0 && data.name.endsWith('.test.ts');
}

function printFile(name: string, tally: Tally, ms: number): void {
  const counts = `${tally.passed} passed${tally.failed > 0 ? `, ${tally.failed} FAILED` : ''}`;
  process.stdout.write(`  ${(ms / 1000).toFixed(1).padStart(6)} s  ${name}  ${counts}\n`);
}

function detail(error: Error): string {
  const cause = error.cause;
  return cause instanceof Error ? (cause.stack ?? cause.message) : (error.stack ?? error.message);
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '        ');
}
