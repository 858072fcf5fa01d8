export * from './limits.ts';
export * from './names.ts';
export * from './repository.ts';
export * from './schema.ts';
