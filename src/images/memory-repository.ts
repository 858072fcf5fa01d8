import { imageExists, imageUnknown } from './errors.ts';
import type { Image } from './image.ts';
import type { ImageRepository } from './repository.ts';

/** Records in memory, for tests and for runs that keep nothing. */
export class MemoryImageRepository implements ImageRepository {
  readonly #images = new Map<string, Image>();

  list(): readonly Image[] {
    return [...this.#images.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): Image | undefined {
    return this.#images.get(name);
  }

  insert(image: Image): void {
    if (this.#images.has(image.name)) throw imageExists(image.name);
    this.#images.set(image.name, { ...image });
  }

  update(image: Image): void {
    if (!this.#images.has(image.name)) throw imageUnknown(image.name);
    this.#images.set(image.name, { ...image });
  }

  remove(name: string): void {
    if (!this.#images.delete(name)) throw imageUnknown(name);
  }
}
