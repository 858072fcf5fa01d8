/**
 * How an image is kept: a raw file, a block device (disk, zvol, logical volume), or an ISO file.
 */
export const IMAGE_KINDS = ['raw', 'block', 'iso'] as const;
export type ImageKind = (typeof IMAGE_KINDS)[number];

/** One disk of the library. The bytes are at `path`; everything else is what the library knows. */
export type Image = {
  /** Unique in the library; see `checkImageName`. */
  readonly name: string;
  readonly kind: ImageKind;
  /** Absolute path of the file or the device. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Logical block that a guest sees: 512, 2048 (ISO) or 4096. */
  readonly blockBytes: number;
  /** True when the library made the file: `rm` deletes it. False: used in place, never deleted. */
  readonly owned: boolean;
  readonly createdAtMs: number;
  readonly note?: string;
  /** Where it came from, in words: "preset dos", "recipe debian bookworm", "clone of golden". */
  readonly source?: string;
};

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
