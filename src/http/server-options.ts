import type { Clock, Log } from '#base/mod.ts';
import type { BootSite, HttpObserver } from './types.ts';

/** Where to listen. Port 0 lets the kernel choose (see `HttpServer.addresses`). */
export type HttpListen = { readonly address: string; readonly port: number };

/** What a boot listener is made of. */
export type HttpServerOptions = {
  readonly listen: readonly HttpListen[];
  readonly site: BootSite;
  readonly observer?: HttpObserver;
  readonly log?: Log;
  readonly clock?: Clock;
};

/** Counters of the boot listener, in the order in which they are shown. */
export const HTTP_COUNTERS = [
  'connections',
  'evicted',
  'turned-away',
  'idle-closed',
  'requests',
  'refused',
  'timeouts',
  'answers',
  'answers-4xx',
  'answers-5xx',
  'failed-transfers',
  'sent-bytes',
] as const;

export type HttpCounter = (typeof HTTP_COUNTERS)[number];
