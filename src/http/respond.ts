import { decideCondition, formatHttpDate, rangeStillValid } from './condition.ts';
import type { Validators } from './condition.ts';
import { decideRange } from './range.ts';
import type { BootMethod } from './types.ts';

/** The head of an answer, and which bytes of the body follow it. */
export type ResponsePlan = {
  readonly status: number;
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** Value of Content-Length; undefined only for 304. */
  readonly contentLength?: number;
  /** The part of the body to send: nothing for HEAD, 304 and 416. */
  readonly startBytes: number;
  readonly lengthBytes: number;
};

/** What is known of a body before it is read. */
export type BodyFacts = Validators & {
  readonly sizeBytes: number;
  readonly contentType: string;
  /** `modifiedMs` as an HTTP date, when somebody has it already: it costs a microsecond. */
  readonly lastModified?: string;
};

const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  200: 'OK',
  202: 'Accepted',
  206: 'Partial Content',
  302: 'Found',
  304: 'Not Modified',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  414: 'URI Too Long',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
};

/** Plans the answer to GET or HEAD of a body with validators: conditions first, then the range. */
export function planBody(
  method: BootMethod,
  headers: ReadonlyMap<string, string>,
  body: BodyFacts,
  nowMs: number,
): ResponsePlan {
  const validators: [string, string][] = [];
  if (body.etag !== undefined) validators.push(['ETag', body.etag]);
  if (body.modifiedMs !== undefined) {
    validators.push(['Last-Modified', body.lastModified ?? formatHttpDate(body.modifiedMs)]);
  }
  const nothing = { startBytes: 0, lengthBytes: 0 };
  const condition = decideCondition(headers, body);
  if (condition === 'not-modified') return { status: 304, fields: validators, ...nothing };
  if (condition === 'failed') return { status: 412, fields: [], contentLength: 0, ...nothing };
  const fields: [string, string][] = [
    ['Content-Type', body.contentType],
    ['Accept-Ranges', 'bytes'],
    ...validators,
  ];
  const size = body.sizeBytes;
  const sends = method !== 'HEAD';
  // RFC 9110 §14.2: Range is defined for GET only. OVMF and curl -I send HEAD for the whole size.
  const header = method === 'GET' ? headers.get('range') : undefined;
  const valid = header !== undefined && rangeStillValid(headers.get('if-range'), body, nowMs);
  const range = decideRange(valid ? header : undefined, size);
  if (range.kind === 'unsatisfiable') {
    const unit: [string, string] = ['Content-Range', `bytes */${size}`];
    return { status: 416, fields: [unit], contentLength: 0, ...nothing };
  }
  if (range.kind === 'part') {
    const { startBytes, lengthBytes } = range;
    const last = startBytes + lengthBytes - 1;
    fields.push(['Content-Range', `bytes ${startBytes}-${last}/${size}`]);
    return { status: 206, fields, contentLength: lengthBytes, startBytes, lengthBytes };
  }
  const lengthBytes = sends ? size : 0;
  return { status: 200, fields, contentLength: size, startBytes: 0, lengthBytes };
}

/**
 * The bytes of an answer's head. `Connection: keep-alive` is always spelled out: iPXE keeps a
 * connection only when it is told so, even under HTTP/1.1 (its httpcore.c).
 */
export function encodeHead(plan: ResponsePlan, date: string, keepAlive: boolean): Buffer {
  let text = `HTTP/1.1 ${plan.status} ${REASONS[plan.status] ?? 'Answer'}\r\nDate: ${date}\r\n`;
  for (const [name, value] of plan.fields) text += `${name}: ${fieldText(value)}\r\n`;
  if (plan.contentLength !== undefined) text += `Content-Length: ${plan.contentLength}\r\n`;
  text += 'X-Content-Type-Options: nosniff\r\n';
  text += keepAlive ? 'Connection: keep-alive\r\n\r\n' : 'Connection: close\r\n\r\n';
  return Buffer.from(text, 'latin1');
}

/** A value that cannot end its line: response splitting ends here, whoever made the value. */
function fieldText(value: string): string {
  return /^[\x20-\x7e]*$/.test(value) ? value : value.replaceAll(/[^\x20-\x7e]/g, '?');
}
