import type { BlockDevice, BlockDone } from '#block/mod.ts';

/**
 * From here on a copy is worth a trip to the thread pool, and loops over many pieces must let the
 * event loop turn: a second of WRITE SAME may not hold up everybody else.
 */
const TRY_BYTES_MAX = 256 * 1024;

/** One call of a `BlockDevice` as a promise, for the commands that are not on the hot path. */
function call(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Reads `into.length` bytes; rejects with `BlockError`. */
export async function readDevice(
  device: BlockDevice,
  offsetBytes: number,
  into: Uint8Array,
): Promise<void> {
  if (into.length < TRY_BYTES_MAX && device.tryRead(offsetBytes, into, 0, into.length)) return;
  await call((done) => {
    device.read(offsetBytes, into, 0, into.length, done);
  });
}

/** Writes all of `from`; rejects with `BlockError`. */
export async function writeDevice(
  device: BlockDevice,
  offsetBytes: number,
  from: Uint8Array,
): Promise<void> {
  if (from.length < TRY_BYTES_MAX && device.tryWrite(offsetBytes, from, 0, from.length)) return;
  await call((done) => {
    device.write(offsetBytes, from, 0, from.length, done);
  });
}

/** Rejects with `BlockError`. */
export function flushDevice(device: BlockDevice): Promise<void> {
  return call((done) => {
    device.flush(done);
  });
}

/** Rejects with `BlockError`. */
export function discardDevice(device: BlockDevice, offset: number, length: number): Promise<void> {
  return call((done) => {
    device.discard(offset, length, done);
  });
}

/** Rejects with `BlockError`. */
export function zeroDevice(device: BlockDevice, offset: number, length: number): Promise<void> {
  return call((done) => {
    device.writeZeroes(offset, length, done);
  });
}
