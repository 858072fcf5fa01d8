export * from './events.ts';
export type { NegotiationOffer } from './keys.ts';
export { normalizeIscsiName } from './names.ts';
export * from './policy.ts';
export { TargetServer } from './server.ts';
export type { DetachedConnection, SessionFilter, TargetServerOptions } from './server.ts';
