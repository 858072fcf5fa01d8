/** What happens to a connection; after `closed` nothing more. */
export type WireEvents = {
  readonly connected: () => void;
  /** The first `length` bytes of `bytes`, which are used again afterwards. */
  readonly received: (bytes: Uint8Array, length: number) => void;
  /** It could not be made, or the other side ended it. */
  readonly closed: (reason: string) => void;
};

/** A connection to a server. Nothing here decides anything; tests have one in memory. */
export type Wire = {
  /** The bytes belong to the wire until it is closed. */
  write(bytes: Uint8Array): void;
  /** Sends what was written, then ends. No event follows. */
  end(): void;
  /** Ends at once. No event follows. */
  destroy(): void;
};

/** Begins to connect. No event comes before it returns. */
export type Dial = (events: WireEvents) => Wire;
