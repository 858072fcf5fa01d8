import { InternalError } from '#base/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { inspectDisk, type DiskReport, type SectorIo } from '#disk/mod.ts';

/** Reads are fetched in pieces of this size: a partition table and what follows it in one. */
const PIECE_BYTES = 64 * 1024;
/** An inspection reads tens of sectors; a hostile disk must not make it read without end. */
const PIECES_MAX = 1024;

/** Thrown through an inspection that asks for bytes which are not here yet. */
class Missing extends InternalError {
  readonly piece: number;

  constructor(piece: number) {
    super(`piece ${piece} has not been read`);
    this.piece = piece;
  }
}

/**
 * What `inspectDisk` says of a device that is read asynchronously, wherever it is: the inspection
 * is repeated with each piece that it lacked, a handful of times. Rejects with BlockError.
 */
export async function inspectDevice(device: BlockDevice): Promise<DiskReport> {
  const pieces = new Map<number, Uint8Array>();
  const io = ioOver(device.sizeBytes, pieces);
  for (;;) {
    try {
      return inspectDisk(io);
    } catch (e) {
      if (!(e instanceof Missing) || pieces.size === PIECES_MAX) throw e;
      pieces.set(e.piece, await readPiece(device, e.piece));
    }
  }
}

function ioOver(sizeBytes: number, pieces: ReadonlyMap<number, Uint8Array>): SectorIo {
  return {
    sizeBytes,
    read: (offset, length) => {
      const out = new Uint8Array(length);
      for (let at = 0; at < length;) {
        const piece = Math.floor((offset + at) / PIECE_BYTES);
        const bytes = pieces.get(piece);
        if (bytes === undefined) throw new Missing(piece);
        const within = offset + at - piece * PIECE_BYTES;
        const part = bytes.subarray(within, within + length - at);
        out.set(part, at);
        at += part.length;
      }
      return out;
    },
    write: () => {
      throw new InternalError('an inspection does not write');
    },
  };
}

function readPiece(device: BlockDevice, piece: number): Promise<Uint8Array> {
  const offset = piece * PIECE_BYTES;
  const into = new Uint8Array(Math.min(PIECE_BYTES, device.sizeBytes - offset));
  return new Promise((resolve, reject) => {
    device.read(offset, into, 0, into.length, (error) => {
      if (error === null) resolve(into);
      else reject(error);
    });
  });
}
