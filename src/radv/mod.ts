export { RadvService } from './server.ts';
export type { RadvCounter, RadvOptions } from './server.ts';
