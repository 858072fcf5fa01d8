import type { Image, ImageWork } from '#images/mod.ts';
import type { MachineService } from '#machines/mod.ts';
import type { ImageRequest, InspectionView } from './schema/image.ts';
import type { Lease, Status } from './schema/status.ts';
import type { TimelineEvent } from './schema/timeline.ts';

/** The image library as the API uses it. */
export interface AdminImages {
  /** All images, ordered by name. */
  list(): readonly Image[];
  get(name: string): Image | undefined;
  /** Partitions, geometry as iPXE will guess it, warnings. Throws UserError not-found. */
  inspect(name: string): Promise<InspectionView>;
  /** Long work, all-or-nothing; an aborted signal undoes it. Throws UserError, EnvironmentError. */
  work(request: ImageRequest, work: ImageWork): Promise<Image>;
  /** Throws UserError not-found, and conflict when a machine holds the image. */
  remove(name: string): Promise<void>;
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
  leases(): readonly Lease[];
  status(): Status;
}
