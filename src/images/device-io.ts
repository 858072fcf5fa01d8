import { BasePool, answered, openDisk, type BlockDevice, type DiskSource } from '#block/mod.ts';
import { InternalError } from '#base/mod.ts';
import type { SectorIo } from '#disk/mod.ts';

/** Opens a disk for `work` alone and closes it after; the bases are opened and closed with it. */
export async function withDisk<T>(
  source: DiskSource,
  mode: 'read' | 'write',
  work: (device: BlockDevice) => Promise<T>,
): Promise<T> {
  const device = await openDisk(source, { readOnly: mode === 'read' }, new BasePool());
  let result: T;
  try {
    result = await work(device);
  } catch (e) {
    // The first failure is the one to tell.
    await answered((done) => {
      device.close(done);
    }).catch(() => undefined);
    throw e;
  }
  await answered((done) => {
    device.close(done);
  });
  return result;
}

/** Bytes of a piece that is fetched for a codec: table sectors come in neighbourhoods. */
const PIECE_BYTES = 64 * 1024;
/** 64 MiB: more than any table, FAT or directory that our codecs look at. */
const PIECES_MAX = 1024;

class Missing extends InternalError {
  readonly piece: number;
  constructor(piece: number) {
    super(`piece ${piece} of the disk is not here yet`);
    this.piece = piece;
  }
}

/**
 * Runs `work`, which knows only synchronous sectors, on a device that answers later: what it asks
 * for and is not here yet is fetched, and `work` begins again; so it must have no other effects.
 * What it writes reaches the device when it has returned, and is flushed.
 */
export async function onSectors<T>(device: BlockDevice, work: (io: SectorIo) => T): Promise<T> {
  const pieces = new Map<number, Uint8Array>();
  for (;;) {
    const writes: { at: number; bytes: Uint8Array }[] = [];
    try {
      const result = work(sectorsOf(device, pieces, writes));
      await applyWrites(device, pieces, writes);
      return result;
    } catch (e) {
      if (!(e instanceof Missing) || pieces.size >= PIECES_MAX) throw e;
      pieces.set(e.piece, await readPiece(device, e.piece));
    }
  }
}

async function readPiece(device: BlockDevice, piece: number): Promise<Uint8Array> {
  const at = piece * PIECE_BYTES;
  const length = Math.min(PIECE_BYTES, device.sizeBytes - at);
  const bytes = new Uint8Array(length);
  await answered((done) => {
    device.read(at, bytes, 0, length, done);
  });
  return bytes;
}

/** Reads see the writes before them. */
function sectorsOf(
  device: BlockDevice,
  pieces: ReadonlyMap<number, Uint8Array>,
  writes: { at: number; bytes: Uint8Array }[],
): SectorIo {
  const read = (at: number, length: number): Uint8Array => {
    const out = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const piece = Math.floor((at + done) / PIECE_BYTES);
      const bytes = pieces.get(piece);
      if (bytes === undefined) throw new Missing(piece);
      const from = (at + done) % PIECE_BYTES;
      const part = bytes.subarray(from, from + length - done);
      if (part.length === 0) throw new InternalError('a codec read beyond the disk');
      out.set(part, done);
      done += part.length;
    }
    for (const write of writes) overwrite(out, at, write);
    return out;
  };
  const write = (at: number, bytes: Uint8Array): void => {
    read(at, bytes.length);
    writes.push({ at, bytes: bytes.slice() });
  };
  return { sizeBytes: device.sizeBytes, read, write };
}

function overwrite(
  out: Uint8Array,
  outAt: number,
  { at, bytes }: { at: number; bytes: Uint8Array },
): void {
  const from = Math.max(at, outAt);
  const to = Math.min(at + bytes.length, outAt + out.length);
  if (from < to) out.set(bytes.subarray(from - at, to - at), from - outAt);
}

async function applyWrites(
  device: BlockDevice,
  pieces: ReadonlyMap<number, Uint8Array>,
  writes: readonly { at: number; bytes: Uint8Array }[],
): Promise<void> {
  if (writes.length === 0) return;
  const changed = new Set<number>();
  for (const write of writes) {
    const last = Math.floor((write.at + write.bytes.length - 1) / PIECE_BYTES);
    for (let piece = Math.floor(write.at / PIECE_BYTES); piece <= last; piece++) changed.add(piece);
  }
  for (const piece of changed) {
    const bytes = pieces.get(piece);
    if (bytes === undefined) throw new InternalError('a piece that was written was not read');
    for (const write of writes) overwrite(bytes, piece * PIECE_BYTES, write);
    await answered((done) => {
      device.write(piece * PIECE_BYTES, bytes, 0, bytes.length, done);
    });
  }
  await answered((done) => {
    device.flush(done);
  });
}
