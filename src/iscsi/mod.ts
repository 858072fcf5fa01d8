export * from './events.ts';
export * from './policy.ts';
