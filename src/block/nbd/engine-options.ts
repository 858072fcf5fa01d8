import type { Clock, Log } from '#base/mod.ts';
import type { Dial } from './wire.ts';

/** What an engine needs, and how patient it is. */
export type EngineOptions = {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly log: Log;
  readonly exportName: string;
  readonly readOnly: boolean;
  /** A call is answered `gone` after this long. */
  readonly holdMs: number;
  /** A server that owes an answer and says nothing for this long is given up. */
  readonly stallMs: number;
  readonly connectMs: number;
  /** Memory for writes that no flush covers. */
  readonly unflushedBytesMax: number;
};
