/** The door of script building and loader facts. */
export * from './types.ts';
export { decodeIpxeError } from './errors.ts';
export type { IpxeError } from './errors.ts';
export { LACKING_SINCE_2019, LOADERS } from './loader-table.ts';
export type { IpxeCommand, LoaderFact } from './loader-table.ts';
export { LOADER_FOLDERS, findLoaders, loadersFor } from './loaders.ts';
export type { FoundLoader, LoaderReport } from './loaders.ts';
export { entryScript, machineScript, unknownScript } from './script.ts';
export { REPORT_FIELDS } from './urls.ts';
