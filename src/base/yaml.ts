import { LineCounter, isMap, isScalar, isSeq, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { messageOf, UserError } from './errors.ts';

/** Files that people write are small; a larger one is a mistake or an attack. */
export const YAML_BYTES_MAX = 1024 * 1024;
/** Aliases multiply: the "billion laughs" of YAML. */
const ALIASES_MAX = 100;

/**
 * Reads a YAML text into what `schema` describes. Throws one `UserError` that lists *every* fault,
 * each as `file:line: where: what`, so that a file is mended in one go.
 */
export function readYaml<T extends z.ZodType>(schema: T, text: string, file: string): z.output<T> {
  if (text.length > YAML_BYTES_MAX) throw broken(file, [`${file}: larger than 1 MiB`]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw broken(
      file,
      document.errors.map((e) => `${file}:${lines.linePos(e.pos[0]).line}: ${e.message}`),
    );
  }
  const result = schema.safeParse(plain(document, file));
  if (result.success) return result.data;
  const faults = result.error.issues.flatMap((issue) => faultsOf(issue, document, lines, file));
  throw broken(file, faults);
}

function plain(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX }) ?? {};
  } catch (e) {
    throw broken(file, [`${file}: ${messageOf(e)}`]);
  }
}

/**
 * Tells the line of a value in a YAML text by its path: of its key, or the nearest thing around.
 */
export function yamlLines(text: string): (path: readonly PropertyKey[]) => number {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  return (path) => lineOf(document, lines, path);
}

function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const at = keyNodeOffset(document, path.slice(0, depth));
    if (at !== undefined) return lines.linePos(at).line;
  }
  return 1;
}

function keyNodeOffset(document: Document, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((i) => isScalar(i.key) && String(i.key.value) === String(key));
      if (pair === undefined) return undefined;
      offset = isScalar(pair.key) ? pair.key.range?.[0] : offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = hasRange(node) ? node.range[0] : offset;
    } else return undefined;
  }
  return offset;
}

function hasRange(node: unknown): node is { range: [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range);
}

function faultsOf(
  issue: z.core.$ZodIssue,
  document: Document,
  lines: LineCounter,
  file: string,
): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const line = lineOf(document, lines, [...issue.path, key]);
      return `${file}:${line}: ${dotted([...issue.path, key])}: there is no such setting`;
    });
  }
  const line = lineOf(document, lines, issue.path);
  // A key of a map: its own issues say what is wrong with it.
  const messages =
    issue.code === 'invalid_key' ? issue.issues.map((i) => i.message) : [issue.message];
  return [`${file}:${line}: ${dotted(issue.path)}: ${messages.join(', ')}`];
}

function dotted(path: readonly PropertyKey[]): string {
  const text = path.map((p) => (typeof p === 'number' ? `[${p}]` : `.${String(p)}`)).join('');
  return text.replace(/^\./, '') || 'the file';
}

function broken(file: string, faults: readonly string[]): UserError {
  return new UserError('invalid', 'file-invalid', {
    what: `${file} cannot be used:\n${faults.map((f) => `    ${f}`).join('\n')}`,
    todo: 'mend these lines and start again',
  });
}
