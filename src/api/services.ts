import type { Image, ImageLibrary, ImageWork } from '#images/mod.ts';
import type { MachineService } from '#machines/mod.ts';
import type { ImageRequest } from './schema/image.ts';
import type { Lease, Status } from './schema/status.ts';
import type { TimelineEvent } from './schema/timeline.ts';

/** What a recipe is asked for. */
export type ImageBuild = Omit<Extract<ImageRequest, { action: 'build' }>, 'action' | 'name'>;

/** The image library as the API uses it; the methods say at #images' ImageLibrary what they do. */
export type AdminImages = Pick<
  ImageLibrary,
  | 'list'
  | 'get'
  | 'sourceOf'
  | 'add'
  | 'create'
  | 'clone'
  | 'import'
  | 'export'
  | 'overlay'
  | 'snapshot'
  | 'rollback'
  | 'freeze'
  | 'promote'
  | 'promoteOverlay'
  | 'flatten'
  | 'resize'
  | 'check'
  | 'repair'
  | 'history'
  | 'usage'
  | 'overlays'
  | 'wish'
  | 'remove'
  | 'checkAttach'
  | 'checkIso'
> & {
  /** A bootable disk by a recipe. Rejects with UserError, EnvironmentError, the abort reason. */
  build(name: string, request: ImageBuild, work: ImageWork): Promise<Image>;
  /** Partitions, geometry as iPXE will guess it, warnings; see `inspectionSchema`. */
  inspect(name: string): Promise<object>;
};

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
