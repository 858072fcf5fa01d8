export * from './errors.ts';
export * from './image.ts';
export * from './memory-repository.ts';
export * from './repository.ts';
