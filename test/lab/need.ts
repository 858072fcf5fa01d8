import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** What a test cannot do without. */
export type Needs = {
  /** Network namespaces and taps need root (or a user namespace that grants it). */
  readonly root?: boolean;
  /** Programs that must be on the PATH. */
  readonly tools?: readonly string[];
  /** Files that must exist, such as firmware. */
  readonly files?: readonly string[];
};

/** The path of a program, looked up as a shell would, with the sbin folders added. */
export function which(tool: string): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/sbin',
    '/sbin',
    '/usr/local/sbin',
  ];
  return folders.map((f) => join(f, tool)).find((p) => existsSync(p));
}

/**
 * True when all is here. Otherwise skips the test with the reason; under `CI=true` it throws
 * instead, because a skip that nobody expects is a failure.
 */
export function need(t: TestContext, needs: Needs): boolean {
  const missing: string[] = [];
  if (needs.root === true && process.getuid?.() !== 0) missing.push('root');
  for (const tool of needs.tools ?? []) if (which(tool) === undefined) missing.push(tool);
  for (const file of needs.files ?? []) if (!existsSync(file)) missing.push(file);
  if (missing.length === 0) return true;
  const reason = `needs ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') throw new Error(`unexpected skip in CI: ${reason}`);
  t.skip(reason);
  return false;
}
