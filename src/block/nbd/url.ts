import { UserError } from '#base/mod.ts';
import { STRING_BYTES_MAX } from './protocol.ts';

/** IANA's port of NBD. */
const NBD_PORT = 10_809;
/** sockaddr_un.sun_path with its final NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Where an export is. */
export type NbdAddress = {
  readonly at:
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
    | { readonly kind: 'unix'; readonly path: string };
  /** May be empty: the server's default export. */
  readonly exportName: string;
};

/**
 * Reads an NBD URL as the NBD project writes it (doc/uri.md): `nbd://host[:port]/export` or
 * `nbd+unix:///export?socket=/path`. Throws `UserError` with the right spelling.
 */
export function parseNbdUrl(url: string): NbdAddress {
  const own =
    /^nbd:(?:unix:(?<path>[^:]+)|(?<host>[^/:][^:]*):(?<port>\d+))(?::exportname=(?<name>.*))?$/.exec(
      url,
    );
  if (own?.groups !== undefined) throw qemuSpelling(own.groups);
  if (/^nbds(?:\+unix)?:/.test(url)) {
    throw refused(
      url,
      'TLS is not supported',
      'use nbd:// inside a network that you trust, or a Unix socket',
    );
  }
  if (!URL.canParse(url)) throw refused(url, 'it is no URL', EXAMPLES);
  const parsed = new URL(url);
  if (parsed.username !== '' || parsed.password !== '') {
    throw refused(url, 'NBD has no users or passwords', EXAMPLES);
  }
  if (parsed.hash !== '') throw refused(url, 'it has a fragment (#…)', 'write # as %23');
  const exportName = exportNameOf(url, parsed.pathname);
  if (parsed.protocol === 'nbd:') return { at: tcpOf(url, parsed), exportName };
  if (parsed.protocol === 'nbd+unix:') return { at: unixOf(url, parsed), exportName };
  throw refused(url, `"${parsed.protocol}" is not a way to reach an NBD server`, EXAMPLES);
}

const EXAMPLES = 'write nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=/PATH';

function tcpOf(url: string, parsed: URL): NbdAddress['at'] {
  if (parsed.search !== '') throw refused(url, 'nbd:// takes no parameters', EXAMPLES);
  if (parsed.hostname === '') throw refused(url, 'it names no host', EXAMPLES);
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = parsed.port === '' ? NBD_PORT : Number(parsed.port);
  if (port === 0) throw refused(url, 'there is no port 0', EXAMPLES);
  return { kind: 'tcp', host, port };
}

function unixOf(url: string, parsed: URL): NbdAddress['at'] {
  if (parsed.host !== '') throw refused(url, 'a Unix socket has no host: three slashes', EXAMPLES);
  const path = parsed.searchParams.get('socket');
  if (path === null || [...parsed.searchParams.keys()].length !== 1) {
    throw refused(url, 'nbd+unix:// takes exactly one parameter, socket', EXAMPLES);
  }
  if (!path.startsWith('/') || path.includes('\0')) {
    throw refused(url, 'the socket is not given as a whole path', EXAMPLES);
  }
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    throw refused(
      url,
      `a socket path has at most ${SOCKET_PATH_BYTES_MAX} bytes`,
      'use a shorter one',
    );
  }
  return { kind: 'unix', path };
}

function exportNameOf(url: string, pathname: string): string {
  try {
    const name = decodeURIComponent(pathname.replace(/^\//, ''));
    if (Buffer.byteLength(name) <= STRING_BYTES_MAX && !name.includes('\0')) return name;
  } catch {
    // told below
  }
  throw refused(url, 'the export name is not valid', EXAMPLES);
}

/** QEMU's older syntax, which users have in their scripts. */
function qemuSpelling(parts: Readonly<Record<string, string | undefined>>): UserError {
  const name = encodeURIComponent(parts['name'] ?? '');
  const right =
    parts['path'] === undefined
      ? `nbd://${parts['host']}:${parts['port']}/${name}`
      : `nbd+unix:///${name}?socket=${parts['path']}`;
  return new UserError('invalid', 'nbd-url', {
    what: 'this is how older versions of QEMU name an NBD export',
    todo: `write ${right}`,
  });
}

function refused(url: string, why: string, todo: string): UserError {
  const what = `"${url}" is not the address of an NBD export`;
  return new UserError('invalid', 'nbd-url', { what, why, todo });
}
