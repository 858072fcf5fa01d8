import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EnvironmentError, errnoOf } from '#base/mod.ts';

/** One archive as apt knows it. */
export type AptSource = {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  readonly signedBy?: string;
};

/** Reads `deb` lines of a sources.list file (sources.list(5), one-line format). */
export function parseOneLine(text: string): AptSource[] {
  return text.split('\n').flatMap((raw) => {
    const line = raw.replace(/#.*/, '').trim();
    const m = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)(?:\s+(.*))?$/.exec(line);
    if (m === null) return [];
    const [, options = '', uri = '', suite = '', components = ''] = m;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    const parts = components.split(/\s+/).filter((c) => c !== '');
    return [{ uri, suite, components: parts, ...(signedBy === undefined ? {} : { signedBy }) }];
  });
}

/** Reads a `.sources` file (deb822 format); stanzas that are off or source-only give nothing. */
export function parseDeb822(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = parseStanza(stanza);
    const words = (key: string): string[] =>
      (fields.get(key) ?? '').split(/\s+/).filter((w) => w !== '');
    if (fields.get('enabled')?.toLowerCase() === 'no' || !words('types').includes('deb')) return [];
    const key = words('signed-by')[0];
    const signedBy = key?.startsWith('/') === true ? { signedBy: key } : {};
    const components = words('components');
    return words('uris').flatMap((uri) =>
      words('suites').map((suite) => ({ uri, suite, components, ...signedBy })),
    );
  });
}

function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let key = '';
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue;
    const m = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
    if (m?.[1] !== undefined) {
      key = m[1].toLowerCase();
      fields.set(key, m[2] ?? '');
    } else if (/^\s/.test(line) && key !== '') {
      fields.set(key, `${fields.get(key) ?? ''} ${line.trim()}`);
    }
  }
  return fields;
}

/** Everything that the host's apt is configured with. `root` is another file system, for tests. */
export function hostSources(root = '/'): AptSource[] {
  const folder = join(root, 'etc/apt/sources.list.d');
  const files = listing(folder).map((f) => join(folder, f));
  const list = readIfThere(join(root, 'etc/apt/sources.list'));
  return [
    ...parseOneLine(list),
    ...files.filter((f) => f.endsWith('.list')).flatMap((f) => parseOneLine(readIfThere(f))),
    ...files.filter((f) => f.endsWith('.sources')).flatMap((f) => parseDeb822(readIfThere(f))),
  ].map((source) => ({ ...source, uri: firstMirror(source.uri, root) }));
}

/**
 * The first of a list of mirrors in a file of this host (apt-transport-mirror(1)), as Debian's own
 * images for clouds name theirs; any other address as it is.
 */
function firstMirror(uri: string, root: string): string {
  const list = /^mirror\+file:(?:\/\/)?(\/.*)$/.exec(uri)?.[1];
  if (list === undefined) return uri;
  const words = readIfThere(join(root, list))
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/)[0] ?? '');
  return words.find((word) => word !== '') ?? uri;
}

/** Codenames whose archives we recognise among others (node, docker …) by their suites. */
const CODENAMES = ['bullseye', 'bookworm', 'trixie', 'forky', 'stable', 'oldstable', 'testing'];
const SUITE = new RegExp(`^(${CODENAMES.join('|')})(-security|-updates)?$`);

/**
 * The host's own Debian archives, aimed at another release: `deb` lines for mmdebstrap. Throws
 * EnvironmentError `no-mirror` when the host has none (not a Debian).
 */
export function debLines(sources: readonly AptSource[], release: string): string[] {
  const lines = new Set<string>();
  let main = false;
  for (const s of sources) {
    const suffix = SUITE.exec(s.suite);
    if (suffix === null || !s.components.includes('main')) continue;
    if (!/^https?:|^file:|^copy:/.test(s.uri)) continue;
    main ||= suffix[2] === undefined;
    const key = s.signedBy?.includes('debian-archive') === true ? `[signed-by=${s.signedBy}] ` : '';
    lines.add(`deb ${key}${s.uri} ${release}${suffix[2] ?? ''} main`);
  }
  if (main) return [...lines];
  throw new EnvironmentError('no-mirror', {
    what: 'no Debian archive is known from which to build',
    why: 'the apt configuration of this computer names none (it is no Debian?)',
    todo: 'name one in the request: --mirror "deb http://… bookworm main"',
  });
}

function listing(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return [];
    throw e;
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return '';
    throw e;
  }
}
