export * from './client.ts';
export * from './schema/error.ts';
export * from './schema/image.ts';
export * from './schema/lab.ts';
export * from './schema/machine.ts';
export * from './schema/status.ts';
export * from './schema/timeline.ts';
export * from './server.ts';
export type * from './services.ts';
