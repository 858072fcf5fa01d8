import { answered } from '../answered.ts';
import type { ImageFile } from './image-file.ts';

/** Reads `length` bytes, zeros past the end. Rejects with BlockError. */
export async function readBytes(
  file: ImageFile,
  position: number,
  length: number,
): Promise<Uint8Array> {
  // Not from Node's pool: callers keep views on it.
  const into = new Uint8Array(length);
  await answered((done) => {
    file.read(position, into, 0, length, done);
  });
  return into;
}

/** Writes all of `bytes`. Rejects with BlockError. */
export function writeBytes(file: ImageFile, position: number, bytes: Uint8Array): Promise<void> {
  return answered((done) => {
    file.write(position, bytes, 0, bytes.length, done);
  });
}

/** Syncs the file. Rejects with BlockError. */
export function syncFile(file: ImageFile): Promise<void> {
  return answered((done) => {
    file.sync(done);
  });
}

/** Steps that must not run at the same time, one after the other in the order of asking. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(step: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(step);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}
