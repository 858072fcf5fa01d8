import { COMPRESSED_HI, COPIED_HI, offsetOf } from './entry.ts';
import { readBytes, writeBytes } from './file-io.ts';
import type { ImageFile } from './image-file.ts';
import { decodeL1, encodeL1 } from './l1-table.ts';
import type { Layout } from './layout.ts';
import { wordsOf } from './references.ts';

/** What a pass over the flags may do, and what it found. */
export type FlagPass = {
  /** `clear`: only take flags away, which is safe at any time; `both`: set them too. */
  readonly mode: 'look' | 'clear' | 'both';
  readonly onWrong?: (text: string) => void;
};

/**
 * Brings the COPIED flags of the active L1 table at `l1Offset` and its L2 tables in line with the
 * reference counts: set where the count is exactly 1. A flag too many would let a write change a
 * snapshot; one too few costs a copy. Returns how many were wrong. Rejects with BlockError.
 */
export async function fixCopiedFlags(
  file: ImageFile,
  layout: Layout,
  l1Offset: number,
  l1Entries: number,
  counts: Uint32Array,
  pass: FlagPass,
): Promise<number> {
  const l1 = decodeL1(await readBytes(file, l1Offset, l1Entries * 8));
  let wrong = 0;
  let l1Changed = false;
  for (const [index, table] of l1.offsets.entries()) {
    if (table === 0 || table % layout.clusterBytes !== 0) continue;
    const count = counts[table / layout.clusterBytes];
    if (count === undefined) continue; // past the end: reported by the walk
    const right = count === 1 ? 1 : 0;
    if (l1.copied[index] !== right) {
      wrong += 1;
      pass.onWrong?.(`the L2 table at byte ${table} has the wrong COPIED flag`);
      if (pass.mode === 'both' || right === 0) {
        l1.copied[index] = right;
        l1Changed = true;
      }
    }
    wrong += await fixTable(file, layout, table, counts, pass);
  }
  if (l1Changed && pass.mode !== 'look') {
    await writeBytes(file, l1Offset, encodeL1(l1.offsets, l1.copied));
  }
  return wrong;
}

async function fixTable(
  file: ImageFile,
  layout: Layout,
  table: number,
  counts: Uint32Array,
  pass: FlagPass,
): Promise<number> {
  if (table >= file.sizeBytes) return 0;
  const bytes = await readBytes(file, table, layout.clusterBytes);
  const words = wordsOf(bytes);
  let wrong = 0;
  let changed = false;
  for (let at = 0; at < words.length; at += layout.entryWords) {
    const hi = words[at]!;
    if ((hi & COMPRESSED_HI) !== 0) continue;
    const host = offsetOf(hi, words[at + 1]!);
    if (host === 0) continue;
    const count = counts[host / layout.clusterBytes];
    if (count === undefined) continue;
    const right = count === 1;
    if (((hi & COPIED_HI) !== 0) === right) continue;
    wrong += 1;
    pass.onWrong?.(`the cluster at byte ${host} has the wrong COPIED flag`);
    if (pass.mode !== 'both' && right) continue;
    words[at] = right ? (hi | COPIED_HI) >>> 0 : (hi & ~COPIED_HI) >>> 0;
    changed = true;
  }
  if (changed && pass.mode !== 'look') {
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).swap32();
    await writeBytes(file, table, bytes);
  }
  return wrong;
}
