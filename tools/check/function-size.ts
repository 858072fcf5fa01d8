import type { Finding } from './rules.ts';
import type { SourceFile } from './tree.ts';

export const FUNCTION_LINES_MAX = 70;

const STARTS = [
  /^(?<indent>)(?:export )?(?:async )?function\*? (?<name>\w+)/,
  /^(?<indent> {2})(?:static |private |protected |override |async |get |set )*\*?(?<name>#?\w+)(?:<[^>]*>)?\(.*\{$/,
  /^(?<indent>)(?:export )?const (?<name>\w+) = (?:async )?\(.*=> \{$/,
];

/**
 * Functions longer than a screen. The formatter's indentation tells where one ends: the first line
 * that closes a brace at the column of its start.
 */
export function functionSizeFindings(file: SourceFile): Finding[] {
  const isTable = file.lines.slice(0, 15).some((l) => l.includes('@table'));
  if (isTable) return [];
  const found: Finding[] = [];
  file.lines.forEach((line, i) => {
    const groups = STARTS.map((s) => s.exec(line)?.groups).find((g) => g !== undefined);
    if (
      groups === undefined ||
      /^(?:if|for|while|switch|catch|test|suite)$/.test(groups['name'] ?? '')
    )
      return;
    const close = `${groups['indent'] ?? ''}}`;
    const end = file.lines.findIndex((l, j) => j > i && (l === close || l.startsWith(`${close};`)));
    if (end < 0 || end - i + 1 <= FUNCTION_LINES_MAX) return;
    const message = `${groups['name']} has ${end - i + 1} lines, at most ${FUNCTION_LINES_MAX}`;
    found.push({ path: file.path, line: i + 1, rule: 'function-size', message });
  });
  return found;
}
