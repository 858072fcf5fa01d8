import type { Image } from './image.ts';
import type { ImagePoint, Layer, MachineOverlay } from './layer.ts';
import { MemoryImageRepository } from './memory-repository.ts';
import type { ImageRepository, LibraryChange } from './repository.ts';

/**
 * Records read from memory and written through to their store. The library is the store's only
 * writer, and every boot and every commit look at many records (which layers are still needed?):
 * 200 machines that start together must not cost 200 × 200 rows.
 */
export class MirroredRepository implements ImageRepository {
  readonly #store: ImageRepository;
  readonly #memory = new MemoryImageRepository();

  constructor(store: ImageRepository) {
    this.#store = store;
    this.#memory.commit({
      putLayers: store.layers(),
      addImages: store.list(),
      addPoints: store.points(),
      putOverlays: store.overlays(),
    });
  }

  list(): readonly Image[] {
    return this.#memory.list();
  }

  get(name: string): Image | undefined {
    return this.#memory.get(name);
  }

  layers(): readonly Layer[] {
    return this.#memory.layers();
  }

  layer(id: string): Layer | undefined {
    return this.#memory.layer(id);
  }

  points(): readonly ImagePoint[] {
    return this.#memory.points();
  }

  overlays(): readonly MachineOverlay[] {
    return this.#memory.overlays();
  }

  overlay(machine: string, image: string): MachineOverlay | undefined {
    return this.#memory.overlay(machine, image);
  }

  commit(change: LibraryChange): void {
    this.#store.commit(change);
    this.#memory.commit(change);
  }
}
