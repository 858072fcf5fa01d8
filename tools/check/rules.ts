import { importFindings } from './imports.ts';
import { publicDocFindings } from './public-docs.ts';
import { functionSizeFindings } from './function-size.ts';
import type { SourceFile } from './tree.ts';

export type Finding = {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
};

/** Longer files are split, or carry `@table` in their header: data has no natural length. */
export const FILE_LINES_MAX = 400;
/** Tests read as lists of cases; they may be longer before splitting helps a reader. */
export const TEST_FILE_LINES_MAX = 800;
export const LINE_COLUMNS_MAX = 100;

const BANNED: readonly { pattern: RegExp; message: string; allow?: RegExp }[] = [
  {
    pattern: /\bprocess\.exit\(/,
    message: 'set process.exitCode in src/main.ts; a library returns or throws',
    allow: /^src\/main\.ts$/,
  },
  {
    pattern: /\bconsole\.\w+\(/,
    message: 'use the Log of #base, or the writer that was passed in',
  },
  {
    pattern: /\bnew Error\(/,
    message: 'throw one of the error families of #base: whose fault is it?',
  },
  {
    pattern: /\bMath\.random\(/,
    message: 'use crypto.randomBytes, or a seeded generator passed in',
  },
  {
    pattern: /\bDate\.now\(|\bperformance\.now\(/,
    message: 'take a Clock as a dependency',
    allow: /^src\/base\/clock\.ts$/,
  },
  { pattern: /^export default\b/, message: 'export by name' },
  { pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/, message: 'do it, or write an issue' },
  { pattern: /^\s*\/\/ @ts-(?:ignore|nocheck)/, message: 'fix the type' },
  {
    pattern: /^(?:let|var) /,
    message: 'no module-level mutable state: put it in an object that its user constructs',
  },
];

/** Every finding in the tree, sorted by place. */
export function checkTree(files: readonly SourceFile[]): Finding[] {
  const findings = [...importFindings(files)];
  for (const file of files) {
    findings.push(...sizeFindings(file), ...functionSizeFindings(file));
    if (!isProduct(file)) continue;
    findings.push(...bannedFindings(file), ...publicDocFindings(file));
  }
  return findings.sort((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
}

/** Shipped code: under src, and no test. */
export function isProduct(file: SourceFile): boolean {
  return file.path.startsWith('src/') && !file.path.endsWith('.test.ts');
}

function sizeFindings(file: SourceFile): Finding[] {
  const found: Finding[] = [];
  const max = file.path.endsWith('.test.ts') ? TEST_FILE_LINES_MAX : FILE_LINES_MAX;
  const isTable = file.lines.slice(0, 15).some((l) => l.includes('@table'));
  if (!isTable && file.lines.length > max) {
    const message = `${file.lines.length} lines, at most ${max}: split it, or mark a data file @table`;
    found.push({ path: file.path, line: max, rule: 'file-size', message });
  }
  file.lines.forEach((line, i) => {
    // A long literal or URL cannot be broken; the formatter has broken all else.
    if (
      line.length <= LINE_COLUMNS_MAX ||
      /['"`/]\S{40,}|['"`].{60,}['"`]|^\s*\/\^.*\/g?,$/.test(line)
    )
      return;
    const message = `${line.length} columns, at most ${LINE_COLUMNS_MAX}`;
    found.push({ path: file.path, line: i + 1, rule: 'line-length', message });
  });
  return found;
}

function bannedFindings(file: SourceFile): Finding[] {
  const found: Finding[] = [];
  file.lines.forEach((line, i) => {
    if (/^\s*(?:\*|\/\/(?! @ts-))/.test(line)) return;
    for (const ban of BANNED) {
      if (!ban.pattern.test(line) || ban.allow?.test(file.path) === true) continue;
      found.push({ path: file.path, line: i + 1, rule: 'banned', message: ban.message });
    }
  });
  return found;
}
