import { DecodeError } from '#base/mod.ts';
import { LIMITS } from './limits.ts';

/** A request-target (RFC 9112 §3.2), decoded so that no reading of it leaves a folder. */
export type RequestTarget = { readonly path: string; readonly query: URLSearchParams };

/**
 * Decodes the origin-form or absolute-form of a request-target. The authority of the absolute form
 * is ignored like the Host header: we serve one site. Throws DecodeError `bad-target` (also for
 * `..`, an encoded slash, backslashes, control characters and text that is no UTF-8) or
 * `uri-too-long`.
 */
export function decodeTarget(text: string): RequestTarget {
  const origin = /^https?:\/\/[^/?#]*/i.exec(text);
  const local = origin === null ? text : text.slice(origin[0].length) || '/';
  if (!local.startsWith('/') && !(origin !== null && local.startsWith('?'))) {
    throw bad('neither a path nor an absolute URL');
  }
  // Unencoded controls, blanks, non-ASCII and fragments have no place here (RFC 3986 §2).
  if (/[^\x21-\x7e]|#/.test(local)) throw bad('a character that must be encoded');
  const mark = local.indexOf('?');
  const rawPath = mark < 0 ? local : local.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? '' : local.slice(mark + 1));
  return { path: decodePath(rawPath === '' ? '/' : rawPath), query };
}

function decodePath(raw: string): string {
  const segments: string[] = [];
  for (const part of raw.split('/')) {
    const segment = part.includes('%') ? decodeSegment(part) : part;
    if (segment === '..') throw bad('".." is not followed');
    if (segment.includes('\\')) throw bad('a backslash');
    if (segment !== '' && segment !== '.') segments.push(segment);
  }
  const folder = segments.length > 0 && /\/\.?$/.test(raw);
  const path = `/${segments.join('/')}${folder ? '/' : ''}`;
  if (path.length > LIMITS.pathBytes) throw new DecodeError('uri-too-long', 'path too long', 0);
  return path;
}

function decodeSegment(part: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(part);
  } catch (cause) {
    if (!(cause instanceof URIError)) throw cause;
    throw bad('percent-encoding that is no UTF-8');
  }
  // Once decoded it must still be one segment and one line (hostile case 20).
  if (/[\x00-\x1f\x7f-\x9f/]/.test(decoded)) throw bad('an encoded slash or control character');
  return decoded;
}

function bad(why: string): DecodeError {
  return new DecodeError('bad-target', `request-target: ${why}`, 0);
}
