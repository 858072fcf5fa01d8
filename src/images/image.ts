import type { Layer, LayerFormat } from './layer.ts';

/** One disk of the library, as it is kept: a name for a layer and what stands below it. */
export type ImageRecord = {
  /** Unique in the library; see `checkImageName`. */
  readonly name: string;
  /** Id of the layer that holds its newest bytes. */
  readonly head: string;
  readonly createdAtMs: number;
  /** Number of the newest point that it ever had; 0 before the first. */
  readonly lastPoint: number;
  readonly note?: string;
  /** Where it came from, in words: "preset dos", "recipe debian bookworm", "clone of golden". */
  readonly source?: string;
};

/** An image and the facts of its head. */
export type Image = ImageRecord & {
  readonly kind: LayerFormat;
  readonly path: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly owned: boolean;
  /** True: a golden image; nobody writes it, machines write overlays. */
  readonly frozen: boolean;
};

/** `record` with the facts of its head. */
export function imageOf(record: ImageRecord, head: Layer): Image {
  const { format: kind, path, sizeBytes, blockBytes, owned, frozen } = head;
  return { ...record, kind, path, sizeBytes, blockBytes, owned, frozen: frozen !== undefined };
}

/** The part of an image that is kept with it. */
export function recordOf(image: ImageRecord): ImageRecord {
  const { name, head, createdAtMs, lastPoint, note, source } = image;
  return {
    name,
    head,
    createdAtMs,
    lastPoint,
    ...(note === undefined ? {} : { note }),
    ...(source === undefined ? {} : { source }),
  };
}

/** What long work says about itself while it runs. `line` is text for people. */
export type ImageProgress = {
  readonly phase: string;
  readonly doneBytes?: number;
  readonly totalBytes?: number;
  readonly line?: string;
};

/** How a caller follows and stops long work. An aborted signal ends it with its own reason. */
export type ImageWork = {
  readonly progress?: (step: ImageProgress) => void;
  readonly signal?: AbortSignal;
};
