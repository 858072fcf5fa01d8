/**
 * The error families of the project, by whose fault it is. Nothing else is thrown on purpose.
 *
 * - `DecodeError`: bad bytes. From the wire or a file; always counted, never fatal.
 * - `UserError`: the caller's. Carries what happened, why, and what to do.
 * - `EnvironmentError`: the machine's (a port taken, no permission, a missing file). Same three
 * parts.
 * - `InternalError`: ours. An invariant does not hold; the message is for the log only.
 */
export abstract class PolybootError extends Error {
  /** Stable, kebab-case; one code maps to exactly one answer on each wire. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** Bytes that do not follow their standard. `offset` is the byte at which decoding gave up. */
export class DecodeError extends PolybootError {
  readonly offset: number;

  constructor(code: string, message: string, offset: number) {
    super(code, `${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** What a person reads: what happened, why, and what to do about it. */
export type Explanation = {
  readonly what: string;
  readonly why?: string;
  readonly todo?: string;
};

/** Renders the three parts as the lines a terminal shows. */
export function explain(e: Explanation): string {
  const lines = [e.what];
  if (e.why !== undefined) lines.push(`  why: ${e.why}`);
  if (e.todo !== undefined) lines.push(`  do:  ${e.todo}`);
  return lines.join('\n');
}

abstract class ExplainedError extends PolybootError {
  readonly explanation: Explanation;

  constructor(code: string, explanation: Explanation, options?: ErrorOptions) {
    super(code, explain(explanation), options);
    this.explanation = explanation;
  }
}

/** How a caller was wrong: decides the HTTP status and the exit code. */
export type UserErrorKind = 'invalid' | 'not-found' | 'conflict' | 'forbidden' | 'unsupported';

/** The caller asked for something that cannot be done; saying it differently can help. */
export class UserError extends ExplainedError {
  readonly kind: UserErrorKind;

  constructor(kind: UserErrorKind, code: string, explanation: Explanation, options?: ErrorOptions) {
    super(code, explanation, options);
    this.kind = kind;
  }
}

/** The host cannot do it now: a port taken, a missing package, no permission, a full disk. */
export class EnvironmentError extends ExplainedError {}

/** A broken invariant of ours. */
export class InternalError extends PolybootError {
  constructor(message: string, options?: ErrorOptions) {
    super('internal', message, options);
  }
}

/** Asserts an invariant; the message names it. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InternalError(message);
}

/** The errno name (`ENOENT`) of a Node system error, or undefined. */
export function errnoOf(e: unknown): string | undefined {
  if (!(e instanceof Error) || !('code' in e)) return undefined;
  return typeof e.code === 'string' ? e.code : undefined;
}

/** A short text of anything thrown, for logs and for wrapping. */
export function messageOf(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
