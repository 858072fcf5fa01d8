import type { Chunk } from './data-plane.ts';

/**
 * A range of a read that is not resident, being read into a chunk of its own. The device reads it
 * in one piece to the chunk's end, and when it is sent the segments are moved down between the
 * headers:
 *
 *   read:   [ n × overhead          ][ segment 0 | segment 1 | … segment n-1 ]
 *   sent:   [ h | segment 0 ][ h | segment 1 ] … [ h | segment n-1 ]
 *
 * A segment never moves up, and segment i at its new place ends before segment i+1's old one, so
 * that moving them in order destroys nothing. The last one does not move at all.
 */
export class ColdRun {
  readonly chunk: Chunk;
  /** Where the data lies in the chunk. */
  readonly dataAt: number;
  /** Offset in the command's data, and length. */
  readonly startBytes: number;
  readonly lengthBytes: number;
  ready = false;
  /** Nobody wants the data any more. */
  abandoned = false;
  error: Error | null = null;

  constructor(chunk: Chunk, dataAt: number, startBytes: number, lengthBytes: number) {
    this.chunk = chunk;
    this.dataAt = dataAt;
    this.startBytes = startBytes;
    this.lengthBytes = lengthBytes;
  }
}
