import { CHAIN_LEVELS_MAX, createQcow2 } from '#block/mod.ts';
import { closeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { UserError } from '#base/mod.ts';
import type { LibraryCore } from './core.ts';
import type { Layer } from './layer.ts';
import { chainOf } from './references.ts';

/**
 * Writes the file of a new, empty overlay on `parent` (a frozen layer) under its partial name, for
 * `LibraryCore.commit` to add. Takes a constant time, whatever stands below. The name of the base
 * in the file is for qemu-img only; we never follow it. Throws UserError `chain-long`.
 */
export async function newOverlay(core: LibraryCore, name: string, parent: Layer): Promise<Layer> {
  const depth = chainOf(core.repository, parent.id).length;
  if (depth >= CHAIN_LEVELS_MAX) throw tooDeep(name, depth);
  const id = core.newId();
  const layer = {
    id,
    path: core.folder.pathFor(name, { id, format: 'qcow2' }, core.repository),
    format: 'qcow2',
    parent: parent.id,
    sizeBytes: parent.sizeBytes,
    blockBytes: parent.blockBytes,
    owned: true,
    createdAtMs: core.options.clock.wallMs(),
  } as const;
  const inFolder = dirname(parent.path) === core.folder.path;
  const file = inFolder ? basename(parent.path) : parent.path;
  const fd = core.folder.openPartial(id);
  try {
    await createQcow2(fd, {
      sizeBytes: parent.sizeBytes,
      backing: { file, format: parent.format === 'qcow2' ? 'qcow2' : 'raw' },
    });
  } catch (e) {
    core.folder.discard(id);
    throw core.spaceError(e, `an overlay on "${name}"`);
  } finally {
    closeSync(fd);
  }
  return layer;
}

/** Commits `change` with its new file; when that fails, the file goes. */
export function commitNew(
  core: LibraryCore,
  layer: Layer,
  change: Parameters<LibraryCore['commit']>[0],
  durable = true,
): void {
  try {
    core.commit(change, [layer], durable);
  } catch (e) {
    core.folder.discard(layer.id);
    throw e;
  }
}

function tooDeep(name: string, depth: number): UserError {
  return new UserError('conflict', 'chain-long', {
    what: `"${name}" cannot have another layer`,
    why: `it stands on ${depth} already, and each makes reading slower`,
    todo: `make one file of them: polyboot image flatten ${name}`,
  });
}
