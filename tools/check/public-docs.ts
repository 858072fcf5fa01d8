import type { Finding } from './rules.ts';
import type { SourceFile } from './tree.ts';

const EXPORTED =
  /^export (?:abstract |async )*(function\*?|class|interface|const|type) ([A-Za-z0-9_]+)/;

/**
 * Every export that others can call or construct says what it does. A type or constant whose
 * neighbour above documents the pair (`const Phase` and `type Phase`) needs no second text, and a
 * type without a comment may speak through its fields.
 */
export function publicDocFindings(file: SourceFile): Finding[] {
  const found: Finding[] = [];
  const documented = new Set<string>();
  file.lines.forEach((line, i) => {
    const m = EXPORTED.exec(line);
    if (m === null) return;
    const [, kind = '', name = ''] = m;
    const above = file.lines.slice(Math.max(0, i - 3), i).findLast((l) => l.trim() !== '');
    const fileNote = i < 40 && /^\s*\*\/$/.test(above ?? '');
    if (
      above?.trim().endsWith('*/') === true ||
      above?.trim().startsWith('//') === true ||
      fileNote
    ) {
      documented.add(name);
      return;
    }
    if (documented.has(name) || kind === 'type' || kind === 'const') return;
    const message = `document ${name}: what it does, shapes, units, errors, section`;
    found.push({ path: file.path, line: i + 1, rule: 'public-docs', message });
  });
  return found;
}
