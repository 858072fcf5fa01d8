/** A request's body: a machine with a 64 KiB script and its JSON escapes, several times over. */
export const BODY_BYTES_MAX = 1024 * 1024;

/** A lab file of 10,000 machines at about 500 bytes each. */
export const LAB_BYTES_MAX = 8 * 1024 * 1024;

/** Deepest nesting of a body; the deepest schema has 7 levels (CVE-2026-3608: unbounded depth). */
export const JSON_DEPTH_MAX = 32;

/** Request line and headers together. */
export const HEADER_BYTES_MAX = 16 * 1024;

/** A client that has not sent its headers, or its whole request, by then is let go (slowloris). */
export const HEADERS_TIMEOUT_MS = 10_000;
export const REQUEST_TIMEOUT_MS = 30_000;

/** Clients at once on one listener: browsers, scripts and watchers of one bench. */
export const CONNECTIONS_MAX = 256;

/** Streams (events, long work) at once on one listener: leaves room for ordinary requests. */
export const STREAMS_MAX = 64;

/** Unsent bytes at which a watcher that does not read is let go; it comes back where it was. */
export const STREAM_UNSENT_BYTES_MAX = 1024 * 1024;

/** Events read from the log at once while a stream catches up. */
export const EVENTS_PER_BATCH = 256;

/** Events of one answer. */
export const EVENTS_PER_ANSWER_MAX = 10_000;

/** Proxies drop a connection after 30 s to 60 s of silence. */
export const HEARTBEAT_MS = 15_000;

/** Progress lines of one kind of work: what an eye can follow. */
export const PROGRESS_EVERY_MS = 100;
