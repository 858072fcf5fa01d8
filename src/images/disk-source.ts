import type { DiskSource } from '#block/mod.ts';
import { invariant } from '#base/mod.ts';
import type { Layer } from './layer.ts';

/**
 * A chain (from the top down, see `chainOf`) as the block layer opens it: every base is named by
 * our records, and a frozen one must still be the file that was frozen.
 */
export function sourceOf(chain: readonly Layer[]): DiskSource {
  const [top, ...below] = chain;
  invariant(top !== undefined, 'a chain has a layer');
  const frozen = top.frozen === undefined ? {} : { frozen: top.frozen };
  switch (top.format) {
    case 'nbd':
      return { kind: 'nbd', url: top.path, blockBytes: top.blockBytes };
    case 'qcow2':
      return {
        kind: 'qcow2',
        path: top.path,
        ...(below.length === 0 ? {} : { backing: sourceOf(below) }),
        ...frozen,
      };
    case 'raw':
    case 'block':
    case 'iso':
      return { kind: 'raw', path: top.path, blockBytes: top.blockBytes, ...frozen };
  }
}
