import type { Image } from '#images/mod.ts';
import type { ImageView } from '../schema/image.ts';
import type { AdminServices } from '../services.ts';

/** An image as the API shows it: with what it is made of, and who uses it. */
export function imageView(image: Image, { machines, images }: AdminServices): ImageView {
  const { name, kind, path, sizeBytes, blockBytes, owned, frozen, createdAtMs, note, source } =
    image;
  return {
    name,
    kind,
    path,
    sizeBytes,
    blockBytes,
    owned,
    frozen,
    disk: images.sourceOf(name),
    createdAtMs,
    ...(note === undefined ? {} : { note }),
    ...(source === undefined ? {} : { source }),
    holders: machines.holdersOf(name),
  };
}
