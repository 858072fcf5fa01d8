import type { z } from 'zod';
import { UserError } from '#base/mod.ts';

/** Most problems a message lists; a document with more has one cause. */
const LISTED_MAX = 20;

/** One thing wrong with a document: where (keys and list positions from its root), and what. */
export type Problem = { readonly path: readonly (string | number)[]; readonly message: string };

/**
 * `value` in the shape of `schema`.
 *
 * Throws UserError invalid `invalid-value` that lists every problem, as "path: message".
 */
export function parseOrExplain<S extends z.ZodType>(
  schema: S,
  value: unknown,
  what: string,
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalidValue(what, problemsOf(result.error.issues));
}

/** The error of a document with `problems`. */
export function invalidValue(what: string, problems: readonly Problem[]): UserError {
  const lines = problems.slice(0, LISTED_MAX).map(({ path, message }) => {
    const at = pathText(path);
    return at === '' ? message : `${at} ${message}`;
  });
  if (problems.length > LISTED_MAX) lines.push(`and ${problems.length - LISTED_MAX} more`);
  return new UserError('invalid', 'invalid-value', { what, why: lines.join('; ') });
}

/** Issues of zod in plain words; the branches of a union that came closest speak for it. */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  prefix: readonly (string | number)[] = [],
): Problem[] {
  return issues.flatMap((issue) => {
    const path = [...prefix, ...issue.path.map((p) => (typeof p === 'number' ? p : String(p)))];
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ path: [...path, key], message: 'is no known key' }));
    if (issue.code === 'invalid_union') return unionProblems(issue, path);
    return [{ path, message: plainMessage(issue) }];
  });
}

/** `["drives", 0, "image"]` → `drives[0].image`. */
export function pathText(path: readonly (string | number)[]): string {
  return path
    .map((part, n) => (typeof part === 'number' ? `[${part}]` : n === 0 ? part : `.${part}`))
    .join('');
}

function unionProblems(
  issue: z.core.$ZodIssueInvalidUnion,
  path: readonly (string | number)[],
): Problem[] {
  const deepest = (problems: Problem[]): number =>
    Math.max(0, ...problems.map((p) => p.path.length));
  const branches = issue.errors.map((errors) => problemsOf(errors, path));
  const best = branches.sort((a, b) => deepest(b) - deepest(a) || a.length - b.length)[0];
  if (best !== undefined) return best;
  const options = 'options' in issue && Array.isArray(issue.options) ? issue.options : [];
  return [{ path, message: `must be one of ${options.map(String).join(', ')}` }];
}

function plainMessage(issue: z.core.$ZodIssue): string {
  if (
    issue.code === 'invalid_type' &&
    issue.input === undefined &&
    issue.message.endsWith('undefined')
  )
    return `is missing (${issue.expected})`;
  if (issue.code === 'invalid_type') return `must be of type ${issue.expected}`;
  if (issue.code === 'invalid_value')
    return `must be one of ${issue.values.map(String).join(', ')}`;
  // A key of a record: its own issues say what is wrong with it.
  if (issue.code === 'invalid_key') return issue.issues.map(plainMessage).join(', ');
  return issue.message;
}
