import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { UserError } from '#base/mod.ts';

/** Who may speak on a listener. */
export type Access =
  /** The socket's mode and folder decide; no browser reaches it. */
  | { readonly kind: 'unix' }
  /** `hosts`: names under which people reach this listener, without port, lower case. */
  | {
      readonly kind: 'tcp';
      readonly hosts: readonly string[];
      /** It listens on every address, so any may stand in Host: a number is no rebound name. */
      readonly anyAddress?: boolean;
      readonly token?: string;
    };

/** The caller did not prove who it is: the one refusal with status 401. */
export class Unauthorized extends UserError {
  constructor() {
    super('forbidden', 'token-needed', {
      what: 'this request carries no valid token',
      todo: 'send "authorization: Bearer TOKEN", with what the file of admin.tokenFile holds',
    });
  }
}

/**
 * Refuses requests that a browser was tricked into sending (hostile case 18), then those without
 * the token. Throws UserError forbidden.
 *
 * - DNS rebinding: a foreign name in Host, though the packet came here.
 * - CSRF and cross-origin streams: Origin or Sec-Fetch-Site of another site; a body that is not
 *   JSON (checked by content type, which makes browsers ask first).
 */
export function checkAccess(access: Access, headers: IncomingHttpHeaders): void {
  if (access.kind === 'tcp' && !answersTo(access, hostName(headers.host ?? '')))
    throw refused('host-refused', `this listener does not answer to the name in "Host"`);
  if (headers.origin !== undefined && !ownOrigin(access, headers.origin, headers.host))
    throw refused('origin-refused', 'a page of another site made this request');
  const site = headers['sec-fetch-site'];
  if (site === 'cross-site' || site === 'same-site')
    throw refused('origin-refused', 'a page of another site made this request');
  if (access.kind === 'tcp' && access.token !== undefined)
    checkToken(access.token, headers.authorization);
}

/** Requests that change something carry JSON, and say so. Throws UserError with status 415. */
export function isJson(contentType: string | undefined): boolean {
  return /^application\/json\s*(;|$)/i.test(contentType ?? '');
}

/** "Host" without its port: "LOCALHOST:80" → "localhost", "[::1]:80" → "::1". */
export function hostName(host: string): string {
  const bracketed = /^\[([0-9a-fA-F:.]+)\](:\d+)?$/.exec(host);
  if (bracketed !== null) return (bracketed[1] ?? '').toLowerCase();
  return host.replace(/:\d+$/, '').toLowerCase();
}

function answersTo(access: Access & { readonly kind: 'tcp' }, name: string): boolean {
  return access.hosts.includes(name) || (access.anyAddress === true && isIP(name) !== 0);
}

function ownOrigin(access: Access, origin: string, host: string | undefined): boolean {
  return access.kind === 'tcp' && host !== undefined && origin === `http://${host}`;
}

function checkToken(token: string, authorization: string | undefined): void {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  // Equal lengths for the constant-time comparison, whatever was sent.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (given === undefined || !timingSafeEqual(digest(given), digest(token)))
    throw new Unauthorized();
}

function refused(code: string, why: string): UserError {
  return new UserError('forbidden', code, { what: 'this request was refused', why });
}
