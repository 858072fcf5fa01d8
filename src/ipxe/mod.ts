/** The door of script building and loader facts. */
export * from './types.ts';
export { entryScript, machineScript, unknownScript } from './script.ts';
export { REPORT_FIELDS } from './urls.ts';
