import { labSchema, type Lab, type RemoteError } from '#api/mod.ts';
import { readYaml, UserError, yamlLines } from '#base/mod.ts';

/** A lab file, checked. Throws UserError with every fault as `file:line`. */
export function readLab(text: string, file: string): Lab {
  return readYaml(labSchema, text, file);
}

/** What the server found wrong with a lab file, with the lines of the file. */
export function locate(e: RemoteError, text: string, file: string): UserError {
  const lineOf = yamlLines(text);
  const faults = e.problems.map(
    ({ path, message }) => `    ${file}:${lineOf(path)}: ${path.join('.')}: ${message}`,
  );
  return new UserError('invalid', e.code, {
    what: `${file} cannot be applied; nothing was changed:\n${faults.join('\n')}`,
    todo: 'mend these lines and apply it again',
  });
}
