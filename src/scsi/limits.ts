import { GATHER_BYTES_MAX } from './command.ts';

/** One UNMAP: 1 Mi blocks, 512 MiB of 512 bytes; what ext4 punches in some milliseconds. */
export const UNMAP_BLOCKS_MAX = 1024 * 1024;
/** 256 descriptors of 16 bytes and the header are 4104 bytes: a page, as Linux sends them. */
export const UNMAP_DESCRIPTORS_MAX = 256;
/** One WRITE SAME, 2 GiB of 512 bytes: seconds of writing; the initiator's time-out bounds it. */
export const WRITE_SAME_BLOCKS_MAX = 4 * 1024 * 1024;

/** Blocks of one COMPARE AND WRITE: the field has one byte, and both halves are gathered. */
export function compareBlocksMax(blockBytes: number): number {
  return Math.min(255, GATHER_BYTES_MAX / 2 / blockBytes);
}

/** Operations that wait while a device is changed: four sessions with a full window of 256 each. */
export const HELD_OPERATIONS_MAX = 1024;

/** What a command moves at a time that sends or gets no data: a trip to the thread pool is paid. */
export const PIECE_BYTES: number = 1024 * 1024;
/** Such pieces of one unit in memory at a time: as many as keep a disk busy. */
export const PIECES_MAX = 8;

/** LBA STATUS descriptors of one answer: with the header 64 KiB. */
export const LBA_STATUS_DESCRIPTORS_MAX = 4095;
/** Of these in one turn of the event loop: each asks the file system, at some microseconds. */
export const LBA_STATUS_PER_TURN_MAX = 64;
