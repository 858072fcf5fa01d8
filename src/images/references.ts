import { invariant } from '#base/mod.ts';
import type { Layer } from './layer.ts';
import type { ImageRepository, LibraryChange } from './repository.ts';

/**
 * A layer and all that it stands on, from the top down. Throws InternalError for a broken chain.
 */
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
 * below one of these. Layers that are `read` just now stay as if something referred to them: a
 * later change takes them away.
 */
export function swept(
  repository: ImageRepository,
  change: LibraryChange,
  read: readonly string[] = [],
): LibraryChange {
  const layers = new Map(repository.layers().map((layer) => [layer.id, layer]));
  for (const layer of change.putLayers ?? []) layers.set(layer.id, layer);
  const used = new Set<string>();
  for (const root of [...rootsAfter(repository, change), ...read]) {
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
 * Who needs a layer, in words for people: images, points and overlays that are it or stand on it.
 * What belongs to the image `except` is left out. The records are read once, for any number of
 * questions.
 */
export function referrers(repository: ImageRepository, except?: string): (id: string) => string[] {
  const direct = new Map<string, string[]>();
  const above = new Map<string, string[]>();
  const note = (map: Map<string, string[]>, id: string, word: string): void => {
    const words = map.get(id);
    if (words === undefined) map.set(id, [word]);
    else words.push(word);
  };
  for (const { name, head } of repository.list())
    if (name !== except) note(direct, head, `image "${name}"`);
  for (const { image, number, layer } of repository.points())
    if (image !== except) note(direct, layer, `point ${number} of image "${image}"`);
  for (const { image, machineName, layer } of repository.overlays())
    if (image !== except) note(direct, layer, `the overlay of machine "${machineName}"`);
  for (const { id, parent } of repository.layers())
    if (parent !== undefined) note(above, parent, id);
  const known = new Map<string, string[]>();
  const of = (id: string): string[] => {
    const told = known.get(id);
    if (told !== undefined) return told;
    const words = [...(direct.get(id) ?? []), ...(above.get(id) ?? []).flatMap(of)];
    const found = [...new Set(words)];
    known.set(id, found);
    return found;
  };
  return of;
}
