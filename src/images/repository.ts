import type { Image, ImageRecord } from './image.ts';
import type { ImagePoint, Layer, MachineOverlay } from './layer.ts';

/** Several changes of the library's records that stand or fall together. */
export type LibraryChange = {
  /** New layers, and known ones as they are from now on. */
  readonly putLayers?: readonly Layer[];
  readonly removeLayers?: readonly string[];
  readonly addImages?: readonly ImageRecord[];
  /** Known images as they are from now on. */
  readonly setImages?: readonly ImageRecord[];
  readonly removeImages?: readonly string[];
  /** Removed before others are added: a point can be replaced. */
  readonly removePoints?: readonly Pick<ImagePoint, 'image' | 'number'>[];
  readonly addPoints?: readonly ImagePoint[];
  /** New overlays, and known ones (same machine and image) as they are from now on. */
  readonly putOverlays?: readonly MachineOverlay[];
  readonly removeOverlays?: readonly Pick<MachineOverlay, 'machine' | 'image'>[];
};

/**
 * Where the library's records live. A commit is all or nothing, and durable when it returns. What
 * is handed out is frozen or a copy. The library itself checks names, paths and use; an
 * implementation guards uniqueness, and that nothing refers to what is not there.
 */
export interface ImageRepository {
  /** All images, ordered by name (by code point). */
  list(): readonly Image[];
  get(name: string): Image | undefined;
  /** All layers, ordered by id. */
  layers(): readonly Layer[];
  layer(id: string): Layer | undefined;
  /** Points of all images, ordered by image and number. */
  points(): readonly ImagePoint[];
  /** Ordered by machine id and image. */
  overlays(): readonly MachineOverlay[];
  overlay(machine: string, image: string): MachineOverlay | undefined;
  /**
   * Throws UserError `conflict`/`image-exists` for a new image whose name is taken,
   * `not-found`/`image-unknown` for a change of one that is not there, and InternalError for a
   * change that would leave a reference to nothing.
   */
  commit(change: LibraryChange): void;
}
