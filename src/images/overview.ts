import { statSync } from 'node:fs';
import type { LibraryCore } from './core.ts';
import type { Layer, LayerFormat, OverlayWish } from './layer.ts';
import { chainOf, referrers } from './references.ts';

/** One layer and the space that it takes. */
export type LayerUsage = {
  readonly id: string;
  readonly format: LayerFormat;
  readonly path: string;
  readonly parent?: string;
  readonly frozen: boolean;
  /** Size of the disk. */
  readonly virtualBytes: number;
  /** What its file takes; undefined for a device, an NBD export or a missing file. */
  readonly allocatedBytes?: number;
  /** Who needs it, in words. More than one: the space is shared. */
  readonly neededBy: readonly string[];
};

/** What one image takes. */
export type ImageUsage = {
  readonly name: string;
  readonly virtualBytes: number;
  /** Of layers that only this image needs (its points and overlays of machines counted). */
  readonly ownBytes: number;
  /** Of layers that others need too. */
  readonly sharedBytes: number;
  /** Its layers from the newest down, then those that only points and overlays need. */
  readonly layers: readonly LayerUsage[];
};

/** An overlay of one machine, as `history` tells of it. */
export type OverlayState = {
  readonly machine: string;
  /** True: that machine was removed; another of that name has nothing to do with it. */
  readonly gone: boolean;
  readonly image: string;
  /** The version that it stands on, where that is still a point. */
  readonly version?: number;
  /** True: an older version than the present one. */
  readonly behind: boolean;
  readonly kept: boolean;
  readonly allocatedBytes?: number;
  readonly next?: OverlayWish;
  readonly createdAtMs: number;
};

/** The past of an image. */
export type ImageHistory = {
  readonly name: string;
  readonly frozen: boolean;
  readonly points: readonly {
    readonly number: number;
    readonly comment?: string;
    readonly createdAtMs: number;
    readonly sizeBytes: number;
    /** True: the present state stands on it, or is it. */
    readonly current: boolean;
    readonly allocatedBytes?: number;
  }[];
  readonly overlays: readonly OverlayState[];
};

/** What each layer of an image takes, and who shares it. Throws UserError `image-unknown`. */
export function usageOf(core: LibraryCore, name: string): ImageUsage {
  const image = core.get(name);
  const roots = [
    image.head,
    ...core.pointsOf(name).map((point) => point.layer),
    ...core.repository.overlays().flatMap((o) => (o.image === name ? [o.layer] : [])),
  ];
  const ids = new Set(roots.flatMap((id) => chainOf(core.repository, id).map((l) => l.id)));
  const neededBy = referrers(core.repository);
  const others = referrers(core.repository, name);
  const layers = [...ids].map((id) => layerUsage(core.layer(id), neededBy(id)));
  const mine = new Set([...ids].filter((id) => others(id).length === 0));
  const sum = (shared: boolean): number =>
    layers.reduce((n, l) => n + (mine.has(l.id) === shared ? 0 : (l.allocatedBytes ?? 0)), 0);
  return {
    name,
    virtualBytes: image.sizeBytes,
    ownBytes: sum(false),
    sharedBytes: sum(true),
    layers,
  };
}

/** Points of an image, and the overlays of machines on it. Throws UserError `image-unknown`. */
export function historyOf(core: LibraryCore, name: string): ImageHistory {
  const image = core.get(name);
  const chain = chainOf(core.repository, image.head);
  const points = core.pointsOf(name);
  const known = new Set(points.map((point) => point.layer));
  const current = chain.find((layer) => known.has(layer.id))?.id;
  return {
    name,
    frozen: image.frozen,
    points: points.map(({ number, comment, createdAtMs, layer }) => ({
      number,
      ...(comment === undefined ? {} : { comment }),
      createdAtMs,
      sizeBytes: core.layer(layer).sizeBytes,
      current: layer === current,
      ...allocated(core.layer(layer).path),
    })),
    overlays: overlayStates(core).filter((overlay) => overlay.image === name),
  };
}

/** The overlays of all machines. */
export function overlayStates(core: LibraryCore): OverlayState[] {
  return core.repository.overlays().map((overlay) => {
    const { image, machine, machineName, createdAtMs, next, hostBoot } = overlay;
    const base = core.layer(overlay.layer).parent;
    const version = core.pointsOf(image).find((point) => point.layer === base)?.number;
    const present = core.options.machines?.nameOf(machine);
    return {
      machine: present ?? machineName,
      gone: present === undefined,
      image,
      ...(version === undefined ? {} : { version }),
      behind: core.get(image).head !== base,
      kept: hostBoot === undefined,
      ...allocated(core.layer(overlay.layer).path),
      ...(next === undefined ? {} : { next }),
      createdAtMs,
    };
  });
}

function layerUsage(layer: Layer, neededBy: readonly string[]): LayerUsage {
  return {
    id: layer.id,
    format: layer.format,
    path: layer.path,
    ...(layer.parent === undefined ? {} : { parent: layer.parent }),
    frozen: layer.frozen !== undefined,
    virtualBytes: layer.sizeBytes,
    ...allocated(layer.path),
    neededBy,
  };
}

function allocated(path: string): { allocatedBytes?: number } {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true ? { allocatedBytes: stat.blocks * 512 } : {};
}
