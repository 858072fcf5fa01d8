import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Explanation } from '#base/mod.ts';
import { LOADERS } from './loader-table.ts';
import type { LoaderFact } from './loader-table.ts';

/**
 * Where Debian and Ubuntu (`ipxe`), Fedora (`ipxe-bootimgs-*`) and Arch (`ipxe`) put their builds.
 */
export const LOADER_FOLDERS: readonly string[] = [
  '/usr/lib/ipxe',
  '/usr/share/ipxe',
  '/usr/share/ipxe/x86_64',
  '/usr/share/ipxe/arm64-efi',
];

/** A loader that is there. */
export type FoundLoader = {
  readonly fact: LoaderFact;
  /** The folder as it was named: what a person recognises. */
  readonly folder: string;
  /**
   * Real folder and name: Debian's `ipxe.efi` is a link to /boot, which a jailed server would not
   * follow out of its folder.
   */
  readonly root: string;
  readonly path: string;
  readonly sizeBytes: number;
};

/** What `findLoaders` says. */
export type LoaderReport = {
  readonly found: readonly FoundLoader[];
  readonly missing: readonly LoaderFact[];
  /** Set when firmware that is common would get nothing: what to tell the person. */
  readonly problem?: Explanation;
};

/**
 * Looks for every known loader in `folders`; the first folder that has a file wins. Never throws.
 */
export function findLoaders(folders: readonly string[] = LOADER_FOLDERS): LoaderReport {
  const found: FoundLoader[] = [];
  const missing: LoaderFact[] = [];
  for (const fact of LOADERS) {
    const loader = folders.map((folder) => lookIn(folder, fact)).find((l) => l !== undefined);
    if (loader === undefined) missing.push(fact);
    else found.push(loader);
  }
  const lacking = missing.filter((f) => f.essential);
  if (lacking.length === 0) return { found, missing };
  const forWhom = lacking.map((f) => `${f.file} (${f.forWhom})`).join(', ');
  return {
    found,
    missing,
    problem: {
      what: `no iPXE loader for some machines: ${forWhom}`,
      why: `looked in ${folders.join(', ')}`,
      todo: 'apt-get install ipxe (Fedora: ipxe-bootimgs-x86), or name the folder that has it',
    },
  };
}

/**
 * The loaders for a client's architecture (DHCP option 93), best first, among those found. 7, 8 and
 * 9 are alike: RFC 4578 and its erratum 4624 swap their names, and firmware follows either.
 */
export function loadersFor(arch: number, found: readonly FoundLoader[]): FoundLoader[] {
  return LOADERS.filter((f) => f.archs.includes(arch)).flatMap(
    (fact) => found.find((l) => l.fact.file === fact.file) ?? [],
  );
}

function lookIn(folder: string, fact: LoaderFact): FoundLoader | undefined {
  try {
    const real = realpathSync(join(folder, fact.file));
    const stat = statSync(real);
    if (!stat.isFile() || stat.size === 0) return undefined;
    return { fact, folder, root: dirname(real), path: basename(real), sizeBytes: stat.size };
  } catch {
    return undefined; // not there, or not ours to read: the same to a person
  }
}
