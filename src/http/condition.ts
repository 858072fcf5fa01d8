/** What identifies one state of a body: the validators of RFC 9110 §8.8. */
export type Validators = {
  /** With its quotes; always strong here. */
  readonly etag?: string;
  readonly modifiedMs?: number;
};

/** What the preconditions of a request decide. */
export type ConditionAnswer = 'go' | 'not-modified' | 'failed';

/**
 * Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since in the order of
 * RFC 9110 §13.2.2, for GET and HEAD.
 */
export function decideCondition(
  headers: ReadonlyMap<string, string>,
  validators: Validators,
): ConditionAnswer {
  const match = headers.get('if-match');
  if (match !== undefined) {
    if (!listed(match, validators.etag, false)) return 'failed';
  } else {
    const since = parseHttpDate(headers.get('if-unmodified-since'));
    if (since !== undefined && modifiedAfter(validators, since)) return 'failed';
  }
  const noneMatch = headers.get('if-none-match');
  if (noneMatch !== undefined) {
    return listed(noneMatch, validators.etag, true) ? 'not-modified' : 'go';
  }
  const since = parseHttpDate(headers.get('if-modified-since'));
  if (since === undefined || validators.modifiedMs === undefined) return 'go';
  return modifiedAfter(validators, since) ? 'go' : 'not-modified';
}

/**
 * Whether a Range may be honoured under an If-Range header (RFC 9110 §13.1.5): the ETag must match
 * strongly, or the date must be exactly ours and not so young that the second could hide a change.
 */
export function rangeStillValid(
  ifRange: string | undefined,
  validators: Validators,
  nowMs: number,
): boolean {
  if (ifRange === undefined) return true;
  if (ifRange.startsWith('"')) return ifRange === validators.etag;
  if (ifRange.startsWith('W/')) return false;
  const date = parseHttpDate(ifRange);
  const modified = validators.modifiedMs;
  if (date === undefined || modified === undefined) return false;
  return Math.floor(modified / 1000) * 1000 === date && nowMs - modified >= 1000;
}

/** An HTTP date (RFC 9110 §5.6.7) as milliseconds, or undefined when it is none. */
export function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined || text.length > 40 || !/^[A-Za-z]{3,9},? /.test(text)) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** Milliseconds as an HTTP date, in the only form that is to be sent. */
export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

function modifiedAfter(validators: Validators, ms: number): boolean {
  const modified = validators.modifiedMs;
  return modified !== undefined && Math.floor(modified / 1000) * 1000 > ms;
}

function listed(header: string, etag: string | undefined, weakly: boolean): boolean {
  if (header.trim() === '*') return true;
  if (etag === undefined) return false;
  return header.split(',').some((entry) => {
    const tag = entry.trim();
    return tag === etag || (weakly && tag === `W/${etag}`);
  });
}
