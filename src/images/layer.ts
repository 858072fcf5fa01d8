import type { FrozenFile } from '#block/mod.ts';

/** How the bytes of a layer are kept. */
export const LAYER_FORMATS = ['raw', 'qcow2', 'block', 'iso', 'nbd'] as const;
export type LayerFormat = (typeof LAYER_FORMATS)[number];

/**
 * One link of the chain that a disk's bytes are: a file, a device or an NBD export. Layers know
 * each other by our own ids only; a path that stands inside a file is never followed (hostile case
 * 35).
 */
export type Layer = {
  /** Ours, never given twice; part of the names of files. */
  readonly id: string;
  /** Absolute path; the URL of an NBD export. */
  readonly path: string;
  readonly format: LayerFormat;
  /** Where bytes come from that this layer does not hold: always a frozen layer. */
  readonly parent?: string;
  /** Size of the disk that a machine sees through this layer. */
  readonly sizeBytes: number;
  /** Logical block that a guest sees: 512, 2048 (ISO) or 4096. */
  readonly blockBytes: number;
  /** What the file looked like when it was frozen: present exactly when it must never change. */
  readonly frozen?: FrozenFile;
  /** True when the library made the file: it goes with its layer. False: used in place. */
  readonly owned: boolean;
  readonly createdAtMs: number;
  /** A larger size that is on its way; a start of the server brings it to its end. */
  readonly growTo?: number;
};

/** A state of an image that can be returned to; numbers grow and never come again. */
export type ImagePoint = {
  readonly image: string;
  readonly number: number;
  /** Frozen. */
  readonly layer: string;
  readonly comment?: string;
  readonly createdAtMs: number;
};

/** What the next boot does with an overlay, other than its mode says; asked for once. */
export const OVERLAY_WISHES = ['keep', 'discard'] as const;
export type OverlayWish = (typeof OVERLAY_WISHES)[number];

/** What one machine has written on top of one image. */
export type MachineOverlay = {
  /** Id of the machine. */
  readonly machine: string;
  /** Its name when the overlay was made: the machine may be gone. */
  readonly machineName: string;
  readonly image: string;
  readonly layer: string;
  /** Of an overlay that is fresh at each boot: the boot of this host that it was made in. */
  readonly hostBoot?: string;
  readonly next?: OverlayWish;
  readonly createdAtMs: number;
};
