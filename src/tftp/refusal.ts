import { UserError } from '#base/mod.ts';
import type { TftpCounter } from './counters.ts';
import type { TftpFailure } from './observer.ts';
import { ERROR_CODE } from './packet.ts';

/** How a request is refused: on the wire, in the counters, to the observer. */
export type Refusal = {
  readonly counter: TftpCounter;
  readonly code: number;
  readonly text: string;
  readonly reason: TftpFailure;
};

/** The one mapping of errors to the wire; no internal text leaves. */
export function refusalOf(e: unknown): Refusal {
  if (e instanceof UserError && e.kind === 'not-found') {
    const code = ERROR_CODE.notFound;
    return { counter: 'notFound', code, text: 'File not found', reason: 'not-found' };
  }
  if (e instanceof UserError && e.kind === 'forbidden') {
    const code = ERROR_CODE.accessViolation;
    return { counter: 'forbidden', code, text: 'Access violation', reason: 'forbidden' };
  }
  const code = ERROR_CODE.undefined;
  return { counter: 'unavailable', code, text: 'The file cannot be read', reason: 'unavailable' };
}
