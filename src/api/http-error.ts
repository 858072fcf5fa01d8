import {
  DecodeError,
  EnvironmentError,
  printable,
  UserError,
  type Explanation,
  type UserErrorKind,
} from '#base/mod.ts';
import { LabError } from './lab/lab-error.ts';
import type { ApiError } from './schema/error.ts';

/** An error as the wire carries it. */
export type HttpError = { readonly status: number; readonly body: ApiError };

const STATUS_OF_KIND: Readonly<Record<UserErrorKind, number>> = {
  invalid: 400,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  unsupported: 422,
};

/**
 * The one mapping of our error families to HTTP. What is our own fault says nothing of its inside;
 * `internal` tells the caller to log it.
 */
export function httpError(e: unknown): HttpError & { readonly internal: boolean } {
  if (e instanceof LabError) {
    const problems = e.problems.map(({ path, message }) => ({ path: [...path], message }));
    return known(400, e.code, e.explanation, { problems });
  }
  if (e instanceof UserError) return known(STATUS_OF_KIND[e.kind], e.code, e.explanation);
  if (e instanceof EnvironmentError) return known(503, e.code, e.explanation);
  if (e instanceof DecodeError) return known(422, e.code, { what: e.message });
  return fastifyError(e) ?? { ...OURS, internal: true };
}

const OURS: HttpError = {
  status: 500,
  body: {
    code: 'internal',
    what: 'the server made a mistake and could not do this',
    todo: 'its log says more; please report it',
  },
};

function known(
  status: number,
  code: string,
  explanation: Explanation,
  more: Partial<ApiError> = {},
): HttpError & { internal: boolean } {
  return { status, body: { code, ...explanation, ...more }, internal: false };
}

function fastifyError(e: unknown): (HttpError & { internal: boolean }) | undefined {
  if (typeof e !== 'object' || e === null || !('statusCode' in e)) return undefined;
  if (typeof e.statusCode !== 'number') return undefined;
  const text = FASTIFY_TEXTS[e.statusCode];
  if (text === undefined) return undefined;
  return known(e.statusCode, text.code, text);
}

/** Refusals of the HTTP layer by status. Their own messages are not passed on. */
const FASTIFY_TEXTS: Readonly<Partial<Record<number, { code: string } & Explanation>>> = {
  400: { code: 'bad-request', what: 'the request is no valid HTTP request with a JSON body' },
  413: { code: 'too-large', what: 'the body of the request is too large' },
  414: { code: 'too-long', what: 'the URL of the request is too long' },
  415: {
    code: 'json-only',
    what: 'the body of a request must be JSON',
    todo: 'send it with "content-type: application/json"',
  },
};

/** No route has that URL and method. */
export function noSuchRoute(method: string, url: string): UserError {
  return new UserError('not-found', 'no-such-route', {
    what: `the API has no ${method} ${printable(url)}`,
    todo: '/openapi.json lists all routes',
  });
}
