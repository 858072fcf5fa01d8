/** The door of script building and loader facts. */
export * from './types.ts';
