/**
 * Every limit of the boot listener with its arithmetic. The worst case of memory is
 * `sockets × (headBytes + bodyBytes)` = 2048 × 24 KiB = 48 MiB of half-sent requests, plus
 * `pooledBuffers × chunkBytes` = 16 MiB of data on its way, plus the cache.
 */
export const LIMITS = {
  /** Request line: a query with every fact of a machine is 2 KiB. */
  lineBytes: 4096,
  /**
   * Request line and headers; nginx and Apache take 8 KiB per line, boot clients send 300 bytes.
   */
  headBytes: 8192,
  /** Header lines; OVMF sends 5, iPXE 4, a browser about 20. */
  headerLines: 64,
  /** Decoded path: PATH_MAX is 4096, firmware cuts at 255; the middle is plenty. */
  pathBytes: 1024,
  /** What a booted guest may report in one POST. */
  bodyBytes: 16 * 1024,
  /** Open sockets: a classroom of 500 opens at most 4 each. */
  sockets: 2048,
  /** Of one address: a NAT with 64 machines behind it opens at most 4 each. */
  socketsPerAddress: 256,
  /** A whole request head (and body) must be there this long after its first byte (slowloris). */
  requestMs: 10_000,
  /**
   * A fresh connection that says nothing, and a kept one between two requests (iPXE keeps 10 s).
   */
  idleMs: 30_000,
  /**
   * A reader that took nothing for so long is gone. 256 KiB per minute = 4.3 KiB/s at the least.
   */
  stallMs: 60_000,
  /** A site that does not answer. */
  resolveMs: 15_000,
  /** Reading on after our last word, so that the client sees it and not a reset. */
  lingerMs: 2_000,
  lingerBytes: 1024 * 1024,
  /** `stop()` lets running transfers end for so long, then cuts them. */
  stopMs: 1_000,
  /** Bytes handed to a socket at a time, and the size of a read from a file. */
  chunkBytes: 256 * 1024,
  /** Read buffers that are kept for the next reader: 64 × 256 KiB = 16 MiB. */
  pooledBuffers: 64,
  /** Requests that one connection may have answered in one turn of the event loop. */
  pipelinedPerTurn: 16,
} as const;
