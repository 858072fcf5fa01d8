import type { Image, ImageWork } from '#images/mod.ts';
import type { MachineService } from '#machines/mod.ts';
import type { IMAGE_PRESETS, ImageRequest } from './schema/image.ts';
import type { Lease, Status } from './schema/status.ts';
import type { TimelineEvent } from './schema/timeline.ts';

/** What a recipe is asked for. */
export type ImageBuild = Omit<Extract<ImageRequest, { action: 'build' }>, 'action' | 'name'>;

/** The image library as the API uses it; #images' ImageLibrary is one. */
export interface AdminImages {
  /** All images, ordered by name. */
  list(): readonly Image[];
  /** Throws UserError not-found `image-unknown`. */
  get(name: string): Image;
  /** Uses a file or device where it is. Throws UserError. */
  add(path: string, options: { name?: string; note?: string }): Image;
  /** A blank disk. Throws UserError, EnvironmentError. */
  create(
    name: string,
    options: {
      preset: (typeof IMAGE_PRESETS)[number];
      sizeBytes: number;
      label?: string;
      note?: string;
    },
  ): Image;
  /** A bootable disk by a recipe. Rejects with UserError, EnvironmentError, the abort reason. */
  build(name: string, request: ImageBuild, work: ImageWork): Promise<Image>;
  /** Rejects with UserError, EnvironmentError, the abort reason. */
  clone(name: string, newName: string, work: ImageWork): Promise<Image>;
  /** Partitions, geometry as iPXE will guess it, warnings; see `inspectionSchema`. */
  inspect(name: string): object;
  /** Throws UserError not-found, and conflict while a machine holds the image. */
  remove(name: string): void;
}

/** The timeline of all boots, kept across restarts. */
export interface AdminEvents {
  /** At most `limit` events after number `id`, oldest first. */
  after(id: number, limit: number): readonly TimelineEvent[];
  /** Number of the newest event, 0 when there was none. */
  lastId(): number;
  /** Calls `listener` after each new event until the result is called. */
  subscribe(listener: (event: TimelineEvent) => void): () => void;
}

/** Everything the admin API speaks of; `app` puts it together. */
export interface AdminServices {
  readonly machines: MachineService;
  readonly images: AdminImages;
  readonly events: AdminEvents;
  /** Resolves when what was changed is in force: a drive just attached can be logged in to. */
  settled(): Promise<void>;
  leases(): readonly Lease[];
  status(): Status | Promise<Status>;
}
