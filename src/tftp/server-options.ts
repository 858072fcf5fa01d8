import type { Clock, Log } from '#base/mod.ts';
import type { TftpFiles } from './file.ts';
import type { TftpObserver } from './observer.ts';

/** How the server is set up. */
export type TftpServerOptions = {
  /** The address to listen on; transfers answer from the same one. */
  readonly address: string;
  /** Default 69. */
  readonly port?: number;
  /** Listen on this interface only. */
  readonly interface?: string;
  /** MTU of the path to the clients: blocks that do not fit are not agreed to. Default 1500. */
  readonly mtu?: number;
  readonly files: TftpFiles;
  readonly observer?: TftpObserver;
  readonly log?: Log;
  readonly clock?: Clock;
  /** Answer from the listening port, for networks that translate addresses. */
  readonly singlePort?: boolean;
  /** Options to ignore, such as `blksize`, for clients that ask for them and misbehave. */
  readonly ignoreOptions?: readonly string[];
  /**
   * Threads that carry the transfers, at least 1. Default: half of the processors, at most 4; the
   * second starts when 16 clients come at once.
   */
  readonly threads?: number;
  /** Transfers at once. Default 1024. */
  readonly maxTransfers?: number;
};
