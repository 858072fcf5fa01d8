/**
 * What a block of 512 bytes holds, recognisable whatever happened to it: 64 times the pair (tag,
 * generation). The generation is the number of the write. The tag is the block's LBA, so data in
 * the wrong place is seen; a WRITE SAME puts the same bytes everywhere and has a tag of its own.
 * Zeros are a stamp too.
 */
export type Stamp = { readonly tag: number; readonly generation: number };

export const BLOCK_BYTES = 512;
export const ZERO: Stamp = { tag: 0, generation: 0 };
/** Tag of blocks that one WRITE SAME filled. */
export const SAME_TAG = 0xf5a3e000;

/** Fills one block of `into` with a stamp. */
export function writeStamp(into: Buffer, at: number, stamp: Stamp): void {
  into.writeUInt32BE(stamp.tag, at);
  into.writeUInt32BE(stamp.generation, at + 4);
  for (let filled = 8; filled < BLOCK_BYTES; filled *= 2) {
    into.copyWithin(at + filled, at, at + Math.min(filled, BLOCK_BYTES - filled));
  }
}

/** The stamp of a block, or null when the block is torn or holds something else. */
export function readStamp(from: Buffer, at: number): Stamp | null {
  const tag = from.readUInt32BE(at);
  const generation = from.readUInt32BE(at + 4);
  // All pairs are equal when the block equals itself shifted by one pair.
  const end = at + BLOCK_BYTES;
  if (from.compare(from, at, end - 8, at + 8, end) !== 0) return null;
  return { tag, generation };
}

/** A stamp for messages. */
export function stampText(stamp: Stamp | null): string {
  if (stamp === null) return 'a torn block';
  if (stamp.generation === 0 && stamp.tag === 0) return 'zeros';
  const where = stamp.tag >= SAME_TAG ? 'same' : `lba ${stamp.tag}`;
  return `write ${stamp.generation} (${where})`;
}
