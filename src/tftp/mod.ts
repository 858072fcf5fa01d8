export type { TftpCounter } from './counters.ts';
export { memoryFile } from './file.ts';
export type { TftpFile, TftpFiles } from './file.ts';
export { FolderFiles } from './folder-files.ts';
export type { TftpClient, TftpFailure, TftpFinished, TftpObserver } from './observer.ts';
export type { TftpRequest, TftpStarted } from './observer.ts';
export { TftpServer } from './server.ts';
export type { TftpServerOptions } from './server-options.ts';
