/** The boot listener's door. */
export * from './types.ts';
export { LIMITS } from './limits.ts';
