import type { BlockDone } from './device.ts';

/** A call of a device or an image file as a promise; rejects with its `BlockError`. */
export function answered(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
