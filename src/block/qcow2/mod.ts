/*
 * qcow2 to QEMU's specification (docs/interop/qcow2.txt), our own engine. Nothing here opens a file
 * that an image names.
 *
 * A read:   device → reader → mapper (slice-cache ← L2 tables) → file, backing, or zeros
 * A write:  device → writer → file in place; or pool (refcounts) → file → changes → journal
 * A flush:  device → checkpoint → sync, tables, sync → changes frees what nothing uses any more
 * Opening:  open → header, features, layout → load → recover (journal) or repair (dirty bit)
 * Looking:  info (header only) · check → references (the one walk over everything) → repair
 * Snapshots: snapshots → references → rebuild → one sector of the header → copied-flags
 *
 * Where the promises are kept: journal.ts says how an answered write survives a death of the
 * process and why a loss of power harms nothing; writer.ts has the table of cluster states, and
 * zeroer.ts that of discards; snapshots.ts has the steps of each verb; metadata-map.ts is the
 * overlap check; limits.ts has every limit.
 */
export { checkQcow2, checkQcow2On } from './check.ts';
export { createQcow2 } from './create.ts';
export { Qcow2Device } from './device.ts';
export type { ImageFile } from './image-file.ts';
export { readQcow2Info } from './info.ts';
export { openQcow2, openQcow2On } from './open.ts';
export type {
  Qcow2Backing,
  Qcow2CheckOptions,
  Qcow2CreateOptions,
  Qcow2Info,
  Qcow2Options,
  Qcow2Report,
  Qcow2Snapshot,
} from './types.ts';
