import { EnvironmentError, InternalError, messageOf, type Explanation } from '#base/mod.ts';
import { lockHolder } from './lock-holder.ts';

/** A uniqueness or reference rule of the tables refused a change; the repository says which. */
export class ConstraintViolation extends InternalError {}

/** Primary result codes of SQLite (sqlite.org/rescode.html). */
const SQLITE = {
  PERM: 3,
  BUSY: 5,
  LOCKED: 6,
  READONLY: 8,
  IOERR: 10,
  CORRUPT: 11,
  FULL: 13,
  CANTOPEN: 14,
  CONSTRAINT: 19,
  NOTADB: 26,
} as const;

/** What SQLite threw, in our families: the host's fault, a broken rule of the tables, or ours. */
export function storeError(e: unknown, path: string): unknown {
  const primary = resultCode(e);
  if (primary === undefined) return e;
  if (primary === SQLITE.CONSTRAINT) return new ConstraintViolation(messageOf(e), { cause: e });
  const known = explanations(path, messageOf(e))[primary];
  if (known === undefined)
    return new InternalError(`SQLite refused: ${messageOf(e)} (${path})`, { cause: e });
  return new EnvironmentError(known.code, known.explanation, { cause: e });
}

/** The message of a file that is no state of ours, or no longer whole. */
export function storeCorrupt(path: string, why: string): EnvironmentError {
  return new EnvironmentError('store-corrupt', corrupt(path, why));
}

function resultCode(e: unknown): number | undefined {
  if (!(e instanceof Error) || !('errcode' in e)) return undefined;
  return typeof e.errcode === 'number' ? e.errcode & 0xff : undefined;
}

type Known = { readonly code: string; readonly explanation: Explanation };

function explanations(path: string, message: string): Partial<Record<number, Known>> {
  const locked = {
    code: 'store-locked',
    explanation: {
      what: `the state file ${path} is in use by ${lockHolder(path) ?? 'another process'}`,
      why: 'one polyboot at a time may write it',
      todo: 'stop the other polyboot first, or give this one another state folder',
    },
  };
  const damaged = { code: 'store-corrupt', explanation: corrupt(path, message) };
  const access = {
    code: 'store-access',
    explanation: {
      what: `the state file ${path} cannot be opened for writing`,
      why: message,
      todo: 'check that its folder exists and who owns both (polyboot usually runs as root)',
    },
  };
  return {
    [SQLITE.BUSY]: locked,
    [SQLITE.LOCKED]: locked,
    [SQLITE.CORRUPT]: damaged,
    [SQLITE.NOTADB]: damaged,
    [SQLITE.PERM]: access,
    [SQLITE.READONLY]: access,
    [SQLITE.CANTOPEN]: access,
    [SQLITE.FULL]: {
      code: 'store-full',
      explanation: {
        what: `the disk that holds ${path} is full`,
        why: 'nothing of this change was kept',
        todo: 'free some space there and repeat',
      },
    },
    [SQLITE.IOERR]: {
      code: 'store-io',
      explanation: {
        what: `the disk that holds ${path} reported an error`,
        why: message,
        todo: 'look at the kernel log (dmesg) for that disk',
      },
    },
  };
}

function corrupt(path: string, why: string): Explanation {
  return {
    what: `the state file ${path} is damaged or is no polyboot state`,
    why,
    todo: [
      `move it away and start from a backup (${path}.before-v…)`,
      'or from `polyboot apply lab.yaml`; images are not touched',
    ].join(' '),
  };
}
