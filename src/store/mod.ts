export * from './event-log.ts';
export { SqliteImageRepository } from './image-repository.ts';
export { SqliteMachineRepository } from './machine-repository.ts';
export { MemorySettings, SqliteSettings, type SettingsStore } from './settings.ts';
export * from './state.ts';
