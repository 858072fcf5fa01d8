export * from './architecture.ts';
export * from './config.ts';
export * from './observer.ts';
export * from './policy.ts';
export * from './strategy.ts';
