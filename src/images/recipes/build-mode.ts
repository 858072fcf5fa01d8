import { readFileSync } from 'node:fs';
import { EnvironmentError } from '#base/mod.ts';

/** How mmdebstrap may work: as root, or in a user namespace that it makes. */
export type BuildMode = 'root' | 'unshare';

/**
 * Which of the two this process may use. Root of a user namespace is neither: it may not make
 * device nodes, and has no further users to give out. Throws EnvironmentError `nested-namespace`.
 */
export function buildMode(
  uid = process.getuid?.() ?? -1,
  uidMap = readFileSync('/proc/self/uid_map', 'utf8'),
): BuildMode {
  if (uid !== 0) return 'unshare';
  const [inside, outside, count] = uidMap.trim().split(/\s+/).map(Number);
  if (inside === 0 && outside === 0 && count === 0xffffffff) return 'root';
  throw new EnvironmentError('nested-namespace', {
    what: 'a system cannot be built inside a user namespace',
    why: 'its root may not make device nodes',
    todo: 'build the image before entering the namespace, as a normal user or as root',
  });
}
