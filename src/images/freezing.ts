import { frozenFile } from '#block/mod.ts';
import type { LibraryCore } from './core.ts';
import { withDisk } from './device-io.ts';
import { sourceOf } from './disk-source.ts';
import { kindUnsupported } from './errors.ts';
import type { Layer } from './layer.ts';
import { makeReadOnly, syncPath, unfreeze } from './library-folder.ts';
import { chainOf } from './references.ts';

/**
 * Makes the file of a layer one that never changes again, for `work` to record: whatever a killed
 * server left in it is mended and flushed, nobody may write it (mode 0444, less what was never
 * allowed), and its inode, size and time are remembered for every later opening (hostile case 36).
 * When `work` fails, the file can be written as before.
 */
export async function withFrozen<T>(
  core: LibraryCore,
  image: string,
  layer: Layer,
  work: (frozen: Layer) => Promise<T>,
): Promise<T> {
  if (layer.frozen !== undefined) return work(layer);
  if (layer.format !== 'raw' && layer.format !== 'qcow2') {
    throw kindUnsupported(image, layer.format, 'frozen');
  }
  // Its owner may have made it larger since: what stands on it is as large.
  const sizeBytes = Math.max(layer.sizeBytes, await settle(core, layer));
  try {
    return await work(await frozenAt({ ...layer, sizeBytes }, layer.path));
  } catch (e) {
    unfreeze(layer.path);
    throw e;
  }
}

/** The layer as frozen, its file lying at `path` for now. The file must be flushed. */
export async function frozenAt(layer: Layer, path: string): Promise<Layer> {
  makeReadOnly(path);
  return { ...layer, frozen: await frozenFile(path) };
}

/**
 * Opens the layer for writing, which proves that nobody else has it and repairs what needs repair,
 * and flushes it. Resolves to the size that it has now.
 */
async function settle(core: LibraryCore, layer: Layer): Promise<number> {
  const source = sourceOf(chainOf(core.repository, layer.id));
  const sizeBytes = await withDisk(source, 'write', (device) => Promise.resolve(device.sizeBytes));
  syncPath(layer.path);
  return sizeBytes;
}
