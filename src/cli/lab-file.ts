import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { labSchema, type Lab, type RemoteError } from '#api/mod.ts';
import { readYaml, UserError } from '#base/mod.ts';

type Key = string | number;

/** A lab file, checked. Throws UserError with every fault as `file:line`. */
export function readLab(text: string, file: string): Lab {
  return readYaml(labSchema, text, file);
}

/** What the server found wrong with a lab file, with the lines of the file. */
export function locate(e: RemoteError, text: string, file: string): UserError {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const faults = e.problems.map(({ path, message }) => {
    const line = lines.linePos(offsetOf(document.contents, path)).line;
    return `    ${file}:${line}: ${path.join('.')}: ${message}`;
  });
  return new UserError('invalid', e.code, {
    what: `${file} cannot be applied; nothing was changed:\n${faults.join('\n')}`,
    todo: 'mend these lines and apply it again',
  });
}

/** Where the value of `path` begins (its key, if it has one), or the nearest thing around it. */
function offsetOf(root: unknown, path: readonly Key[]): number {
  let node = root;
  let offset = 0;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key: k }) => isScalar(k) && String(k.value) === String(key));
      if (pair === undefined) return offset;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      if (isScalar(node) || isMap(node)) offset = node.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}
