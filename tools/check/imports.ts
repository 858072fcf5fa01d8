import { dirname, join, normalize } from 'node:path';
import type { Finding } from './rules.ts';
import type { SourceFile } from './tree.ts';

/**
 * Who may import whom: folder of src → the folders whose doors it may open. `app` sees everything.
 * Protocol folders know nothing of each other or of the product.
 */
export const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  os: ['base'],
  net: ['base', 'os'],
  block: ['base', 'os'],
  disk: ['base'],
  scsi: ['base', 'block'],
  iscsi: ['base', 'block', 'scsi', 'net', 'os'],
  dhcp: ['base', 'net', 'os'],
  radv: ['base', 'net', 'os'],
  tftp: ['base', 'net', 'os'],
  http: ['base', 'net', 'os'],
  ipxe: ['base'],
  vm: ['base', 'os'],
  machines: ['base'],
  images: ['base', 'block', 'disk', 'os', 'machines'],
  boot: ['base', 'block', 'machines', 'images', 'dhcp', 'tftp', 'http', 'ipxe', 'iscsi', 'disk'],
  store: ['base', 'machines', 'images'],
  api: ['base', 'machines', 'images', 'boot'],
  cli: ['base', 'api', 'machines', 'images'],
  app: ['*'],
};

const SPECIFIER =
  /(?:^|\s)(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g;

/** Broken directions, closed doors, and folders that the table does not know. */
export function importFindings(files: readonly SourceFile[]): Finding[] {
  const found: Finding[] = [];
  for (const file of files) {
    for (const { specifier, line } of specifiersOf(file)) {
      const message = judge(file.path, specifier);
      if (message !== undefined) found.push({ path: file.path, line, rule: 'imports', message });
    }
  }
  return found;
}

/** The import specifiers of a file, read from its text, with their lines. */
export function specifiersOf(file: SourceFile): { specifier: string; line: number }[] {
  const text = file.text.replaceAll(/\/\*[\s\S]*?\*\//g, (c) => c.replaceAll(/[^\n]/g, ' '));
  return [...text.matchAll(SPECIFIER)].map((m) => ({
    specifier: m[1] ?? m[2] ?? '',
    line: text.slice(0, m.index).split('\n').length,
  }));
}

function judge(path: string, specifier: string): string | undefined {
  const inSource = path.startsWith('src/');
  if (specifier.startsWith('#')) {
    if (!/^#[a-z]+\/mod\.ts$/.test(specifier)) {
      // A folder's own parts are reached relatively; tests and benchmarks may look inside.
      if (inSource && !path.endsWith('.test.ts')) return `open the door instead: #FOLDER/mod.ts`;
      return undefined;
    }
    return inSource ? judgeLayer(path, specifier.slice(1).split('/')[0] ?? '') : undefined;
  }
  if (!specifier.startsWith('.') || !inSource) return undefined;
  const target = normalize(join(dirname(path), specifier));
  const from = path.split('/')[1] ?? '';
  const to = target.split('/')[1] ?? '';
  if (path.split('/').length === 2) {
    return ['cli', 'app'].includes(to) ? undefined : 'main.ts knows only cli/ and app/';
  }
  if (target.startsWith('src/') && from === to) return undefined;
  // What only tests need may live under test/; shipped code must not reach out of its folder.
  if (path.endsWith('.test.ts') && !target.startsWith('src/')) return undefined;
  return `use #${to}/mod.ts, not a relative path into another folder`;
}

function judgeLayer(path: string, to: string): string | undefined {
  const from = path.split('/')[1] ?? '';
  if (path === 'src/main.ts') {
    return ['cli', 'app'].includes(to) ? undefined : 'main.ts knows only cli/ and app/';
  }
  const allowed = LAYERS[from];
  if (allowed === undefined)
    return `src/${from} is not in the layer table (tools/check/imports.ts)`;
  if (from === to || allowed.includes('*') || allowed.includes(to)) return undefined;
  if (path.endsWith('.test.ts')) return undefined;
  return `${from} may not import ${to}: declare the interface you need and let app/ or boot/ fill it`;
}
