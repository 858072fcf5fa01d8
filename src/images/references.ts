import { invariant } from '#base/mod.ts';
import type { Layer } from './layer.ts';
import type { ImageRepository, LibraryChange } from './repository.ts';

/** A layer and all that it stands on, from the top down. Throws InternalError for a broken chain. */
export function chainOf(repository: Pick<ImageRepository, 'layer'>, id: string): Layer[] {
  const chain: Layer[] = [];
  const seen = new Set<string>();
  for (let next: string | undefined = id; next !== undefined;) {
    const layer = repository.layer(next);
    invariant(layer !== undefined && !seen.has(next), `the chain of layer ${id} is broken`);
    seen.add(next);
    chain.push(layer);
    next = layer.parent;
  }
  return chain;
}

/**
 * `change`, and with it the removal of every layer that nothing refers to any more once it is made.
 * Something refers to a layer when it is the head of an image, a point, an overlay of a machine, or
 * below one of these.
 */
export function swept(repository: ImageRepository, change: LibraryChange): LibraryChange {
  const layers = new Map(repository.layers().map((layer) => [layer.id, layer]));
  for (const layer of change.putLayers ?? []) layers.set(layer.id, layer);
  const used = new Set<string>();
  for (const root of rootsAfter(repository, change)) {
    for (let id: string | undefined = root; id !== undefined && !used.has(id);) {
      used.add(id);
      id = layers.get(id)?.parent;
    }
  }
  const removeLayers = [...layers.keys()].filter((id) => !used.has(id));
  const putLayers = (change.putLayers ?? []).filter((layer) => used.has(layer.id));
  return { ...change, putLayers, removeLayers };
}

function rootsAfter(repository: ImageRepository, change: LibraryChange): Set<string> {
  const gone = new Set(change.removeImages);
  const heads = new Map(repository.list().map((image) => [image.name, image.head]));
  for (const { name, head } of [...(change.addImages ?? []), ...(change.setImages ?? [])])
    heads.set(name, head);
  for (const name of gone) heads.delete(name);
  const points = new Map(repository.points().map((p) => [`${p.image} ${p.number}`, p]));
  for (const p of change.removePoints ?? []) points.delete(`${p.image} ${p.number}`);
  for (const p of change.addPoints ?? []) points.set(`${p.image} ${p.number}`, p);
  const overlays = new Map(
    [...repository.overlays(), ...(change.putOverlays ?? [])].map((o) => [
      `${o.machine} ${o.image}`,
      o,
    ]),
  );
  for (const o of change.removeOverlays ?? []) overlays.delete(`${o.machine} ${o.image}`);
  return new Set([
    ...heads.values(),
    ...[...points.values()].map((p) => p.layer),
    ...[...overlays.values()].map((o) => o.layer),
  ]);
}

/**
 * Who refers to `id` directly, in words for people: images, points, overlays, layers above it. What
 * belongs to the image `except` is left out.
 */
export function referrersOf(repository: ImageRepository, id: string, except?: string): string[] {
  const mine = (image: string): boolean => image === except;
  const images = repository.list().filter((i) => i.head === id && !mine(i.name));
  const points = repository.points().filter((p) => p.layer === id && !mine(p.image));
  const overlays = repository.overlays().filter((o) => o.layer === id && !mine(o.image));
  const above = repository.layers().filter((layer) => layer.parent === id);
  return [
    ...images.map((i) => `image "${i.name}"`),
    ...points.map((p) => `point ${p.number} of image "${p.image}"`),
    ...overlays.map((o) => `the overlay of machine "${o.machineName}"`),
    ...new Set(above.flatMap((layer) => referrersOf(repository, layer.id, except))),
  ];
}
