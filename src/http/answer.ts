import { UserError } from '#base/mod.ts';
import { formatHttpDate } from './condition.ts';
import type { ResponsePlan } from './respond.ts';

/** A whole answer made of text: refusals, redirects, scripts. */
export type TextAnswer = { readonly plan: ResponsePlan; readonly body: Buffer };

/** Plans an answer whose body is in hand. For HEAD the length is told and the body left out. */
export function textAnswer(
  status: number,
  contentType: string,
  body: string | Uint8Array,
  head: boolean,
  extra: readonly (readonly [string, string])[] = [],
): TextAnswer {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : Buffer.from(body);
  const plan: ResponsePlan = {
    status,
    // A script is made for one machine and one moment: nobody on the way may keep it.
    fields: [['Content-Type', contentType], ['Cache-Control', 'no-store'], ...extra],
    contentLength: bytes.length,
    startBytes: 0,
    lengthBytes: head ? 0 : bytes.length,
  };
  return { plan, body: head ? Buffer.alloc(0) : bytes };
}

/** An error answer of one line; `why` is shown to the person in front of the machine. */
export function errorAnswer(status: number, why: string, head = false): TextAnswer {
  const extra: [string, string][] = status === 405 ? [['Allow', 'GET, HEAD, POST']] : [];
  return textAnswer(status, 'text/plain; charset=utf-8', `${status} ${why}\n`, head, extra);
}

/** The status of an error that a site or a file threw; 500 tells no detail to the client. */
export function statusOf(error: unknown): number {
  if (!(error instanceof UserError)) return 500;
  const statuses = { invalid: 400, 'not-found': 404, conflict: 409, forbidden: 403 } as const;
  return error.kind === 'unsupported' ? 501 : statuses[error.kind];
}

/** Formats the Date header once a second, however many answers there are. */
export class DateHeader {
  #second = -1;
  #text = '';

  at(wallMs: number): string {
    const second = Math.floor(wallMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = formatHttpDate(second * 1000);
    }
    return this.#text;
  }
}
