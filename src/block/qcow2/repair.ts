import { fixCopiedFlags } from './copied-flags.ts';
import { syncFile } from './file-io.ts';
import type { HeadSector } from './head-sector.ts';
import type { ImageFile } from './image-file.ts';
import type { Layout } from './layout.ts';
import { writeRefcountStructure } from './rebuild.ts';
import type { NewStructure } from './rebuild.ts';
import type { Roots, Usage } from './references.ts';

/**
 * Makes refcounts and COPIED flags anew from what `usage` counted, behind everything the file has;
 * one sector switches. For an image whose refcounts cannot be believed: the dirty bit is set, or a
 * check found them wrong. Killed at any point it has changed nothing but flags, and is done again.
 * `settled` are incompatible features to clear with the switch. Rejects with UserError, BlockError.
 */
export async function rebuildRefcounts(
  file: ImageFile,
  layout: Layout,
  sector: HeadSector,
  roots: Roots,
  usage: Usage,
  settled: number,
): Promise<NewStructure> {
  const behind = Math.max(usage.end, Math.ceil(file.sizeBytes / layout.clusterBytes));
  const structure = await writeRefcountStructure(
    file,
    layout,
    usage,
    () => Promise.resolve(behind),
    () => Promise.resolve(),
  );
  await syncFile(file);
  if (!sector.dirty) {
    // While flags and counts change at different places, nobody may believe them.
    sector.setDirty(true);
    await sector.write();
    await syncFile(file);
  }
  await fixCopiedFlags(file, layout, roots.l1.offset, roots.l1.entries, structure.counts, {
    mode: 'both',
  });
  await syncFile(file);
  sector.setRefcountTable(structure.tableOffset, structure.tableClusters);
  sector.setDirty(false);
  sector.setIncompatible(settled, false);
  await sector.write();
  await syncFile(file);
  return structure;
}
