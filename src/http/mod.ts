/** The boot listener's door. */
export * from './types.ts';
export { LIMITS } from './limits.ts';
export { contentTypeOf } from './content-type.ts';
export { HttpServer } from './server.ts';
export { HTTP_COUNTERS } from './server-options.ts';
export type { HttpCounter, HttpListen, HttpServerOptions } from './server-options.ts';
