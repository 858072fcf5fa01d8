/**
 * What the library asks of whoever serves disks to machines. The library itself never touches a
 * disk that a running system has: it asks for it, or refuses and says who has it.
 */
export interface LiveDisks {
  /**
   * Stops serving every drive whose writable layer is one of `layers` and that nobody is logged in
   * to. Resolves to the names of the machines that are logged in to one, whose drives stay served.
   * Until `restore`, the library hides these layers from `diskOf`.
   */
  release(layers: ReadonlySet<string>): Promise<readonly string[]>;
  /** Serves again what should be served. */
  restore(): Promise<void>;
  /**
   * Makes the disk on this layer `sizeBytes` large under the system that runs on it, which is told.
   * Durable when it resolves. Absent where disks in use cannot grow.
   */
  readonly grow?: (layer: string, sizeBytes: number) => Promise<void>;
  /**
   * Runs `work` under the system that runs on this layer: its commands wait, its disk is flushed
   * and closed; afterwards what `diskOf` says then is served in its place, and its commands go on.
   * So `work` is short, and when it has settled the library hides the layer no longer.
   */
  readonly hold?: <T>(layer: string, work: () => Promise<T>) => Promise<T>;
}
