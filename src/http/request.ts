import { DecodeError } from '#base/mod.ts';
import { LIMITS } from './limits.ts';
import { decodeTarget } from './target.ts';
import type { RequestTarget } from './target.ts';
import type { BootMethod } from './types.ts';

/** The head of one request (RFC 9112 §2.1), with what its framing headers mean. */
export type RequestHead = {
  readonly method: BootMethod;
  readonly target: RequestTarget;
  /** Names in lower case; a repeated list header is joined by ", ". */
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes of body that follow. */
  readonly contentLength: number;
  /** The client wants the connection kept (RFC 9112 §9.3). */
  readonly keepAlive: boolean;
  /** It waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1). */
  readonly expectContinue: boolean;
};

/** The status for each way in which a request can be wrong; the client gets no other detail. */
export const REFUSALS = {
  'bad-line': 400,
  'bad-header': 400,
  'bad-target': 400,
  'bad-host': 400,
  'bad-length': 400,
  'bad-framing': 400,
  'method-not-allowed': 405,
  timeout: 408,
  'length-required': 411,
  'body-too-large': 413,
  'uri-too-long': 414,
  'bad-expectation': 417,
  'head-too-large': 431,
  'method-unknown': 501,
  'bad-version': 505,
} as const;

/** Why a request was refused. */
export type RefusalCode = keyof typeof REFUSALS;

const METHODS: ReadonlyMap<string, BootMethod> = new Map([
  ['GET', 'GET'],
  ['HEAD', 'HEAD'],
  ['POST', 'POST'],
]);
/** Methods of RFC 9110 and WebDAV's commonest: known, but nothing here is changed by them. */
const KNOWN_METHODS = new Set([
  'PUT',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'CONNECT',
  'PATCH',
  'PROPFIND',
]);
/** Headers of which two mean that two parsers could disagree: smuggling (RFC 9112 §6.3, §3.2). */
const SINGLE_HEADERS = new Set(['host', 'content-length', 'transfer-encoding', 'expect']);
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Decodes a request head: `bytes` ends with the empty line. Strict where leniency lets two readers
 * see two different requests: CRLF only, no folded lines, no blank before the colon, one Host, one
 * decimal Content-Length, no Transfer-Encoding. Throws DecodeError whose code is a `RefusalCode`.
 */
export function decodeHead(bytes: Uint8Array): RequestHead {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  if (!text.endsWith('\r\n\r\n')) throw refuse('bad-line', 'no empty line at the end');
  const lines = text.slice(0, -4).split('\r\n');
  if (lines.length > LIMITS.headerLines + 1) throw refuse('head-too-large', 'too many headers');
  const { method, target, minor } = decodeLine(lines[0] ?? '');
  const headers = decodeHeaders(lines);
  const host = headers.get('host');
  // RFC 9112 §3.2: a 1.1 request without Host is refused; ours is never used for more than that.
  if (host === undefined ? minor > 0 : !/^[A-Za-z0-9._:[\]%~-]*$/.test(host)) {
    throw refuse('bad-host', 'Host is missing or malformed');
  }
  return {
    method,
    target: decodeTarget(target),
    headers,
    contentLength: decodeLength(method, headers),
    keepAlive: wantsKeep(minor, headers.get('connection')),
    expectContinue: expectsContinue(minor, headers.get('expect')),
  };
}

/** The refusal of a decode error, or undefined when it is not one of a request. */
export function refusalOf(error: DecodeError): RefusalCode | undefined {
  return Object.hasOwn(REFUSALS, error.code) ? (error.code as RefusalCode) : undefined;
}

function decodeLine(line: string): { method: BootMethod; target: string; minor: number } {
  if (line.length > LIMITS.lineBytes) throw refuse('uri-too-long', 'request line too long');
  const [name = '', target = '', version = '', more] = line.split(' ');
  if (more !== undefined || target === '' || !TOKEN.test(name)) {
    throw refuse('bad-line', 'not METHOD SP target SP version');
  }
  const digits = /^HTTP\/(\d)\.(\d)$/.exec(version);
  if (digits === null) throw refuse('bad-line', 'no HTTP version');
  if (digits[1] !== '1') throw refuse('bad-version', 'only HTTP/1.x');
  const method = METHODS.get(name);
  if (method !== undefined) return { method, target, minor: Number(digits[2]) };
  throw KNOWN_METHODS.has(name)
    ? refuse('method-not-allowed', 'only GET, HEAD and POST')
    : refuse('method-unknown', 'unknown method');
}

function decodeHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (let n = 1; n < lines.length; n++) {
    const line = lines[n] ?? '';
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0));
    // Also refuses a folded line (starts with a blank) and `Name : value` (RFC 9112 §5.1, §5.2).
    if (!TOKEN.test(name)) throw refuse('bad-header', 'malformed header name');
    const value = trimBlanks(line.slice(colon + 1));
    if (!FIELD_VALUE.test(value)) throw refuse('bad-header', 'control character in a header');
    const key = name.toLowerCase();
    const before = headers.get(key);
    if (before !== undefined && SINGLE_HEADERS.has(key)) {
      throw refuse('bad-header', `${key} twice`);
    }
    headers.set(key, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/** Blank and tab only: `trim()` would also eat \v, \f and NBSP, which another reader keeps. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && (text[start] === ' ' || text[start] === '\t')) start += 1;
  while (end > start && (text[end - 1] === ' ' || text[end - 1] === '\t')) end -= 1;
  return text.slice(start, end);
}

function decodeLength(method: BootMethod, headers: ReadonlyMap<string, string>): number {
  const text = headers.get('content-length');
  if (headers.has('transfer-encoding')) {
    // Nobody who boots sends chunks; with a length beside it, it is an attack (RFC 9112 §6.3).
    if (text !== undefined) throw refuse('bad-framing', 'two kinds of length');
    throw refuse('length-required', 'send a Content-Length');
  }
  if (text === undefined) return 0;
  if (!/^\d{1,15}$/.test(text)) throw refuse('bad-length', 'Content-Length is no number');
  const length = Number(text);
  if (length > 0 && method !== 'POST') throw refuse('bad-framing', `a body with ${method}`);
  if (length > LIMITS.bodyBytes) throw refuse('body-too-large', 'body too large');
  return length;
}

function wantsKeep(minor: number, connection: string | undefined): boolean {
  const options = (connection ?? '').toLowerCase().split(/[ \t]*,[ \t]*/);
  if (options.includes('close')) return false;
  return minor > 0 || options.includes('keep-alive');
}

function expectsContinue(minor: number, expect: string | undefined): boolean {
  if (expect === undefined || minor === 0) return false;
  if (expect.toLowerCase() !== '100-continue') throw refuse('bad-expectation', 'unknown Expect');
  return true;
}

function refuse(code: RefusalCode, message: string): DecodeError {
  return new DecodeError(code, message, 0);
}
