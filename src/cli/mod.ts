export type {
  ExportRequest,
  InstallAction,
  InstallRequest,
  LocalCommands,
} from './local-commands.ts';
export { runCli, type CliDeps } from './run.ts';
export type { Output } from './screen.ts';
