import { UserError } from '#base/mod.ts';
import { pathText, type Problem } from '#machines/mod.ts';

/** A lab file that cannot be applied, with every reason and where in the file it is. */
export class LabError extends UserError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super('invalid', 'lab-invalid', {
      what: 'this state cannot be applied; nothing was changed',
      why: problems.map(({ path, message }) => `${pathText(path)}: ${message}`).join('; '),
      todo: 'mend these places and apply it again (--dry-run shows what would change)',
    });
    this.problems = problems;
  }
}
