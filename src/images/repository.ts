import type { Image } from './image.ts';

/**
 * Where the library's records live. Every call is durable when it returns, and stands alone. The
 * library itself checks names, paths and use; an implementation guards only uniqueness.
 */
export interface ImageRepository {
  /** All images, ordered by name (by code point). */
  list(): readonly Image[];
  get(name: string): Image | undefined;
  /** Throws UserError `conflict`/`image-exists` when the name is taken. */
  insert(image: Image): void;
  /** Replaces the record of that name. Throws UserError `not-found`/`image-unknown`. */
  update(image: Image): void;
  /** Throws UserError `not-found`/`image-unknown`. */
  remove(name: string): void;
}
