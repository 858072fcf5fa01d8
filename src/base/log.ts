import pino from 'pino';
import { printable } from './text.ts';

export type LogFields = Readonly<Record<string, unknown>>;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Structured log of one service. Strings in the fields are made printable (no log injection). */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A log whose every line carries `fields` too. */
  child(fields: LogFields): Log;
}

/** A log that writes JSON lines to file descriptor `fd` (default: standard error). */
export function createLog(level: LogLevel = 'info', fd = 2): Log {
  return wrap(pino({ level, base: null }, pino.destination({ fd, sync: true })));
}

/** A log that goes nowhere, for tests and for pure callers. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

function wrap(inner: pino.Logger): Log {
  return {
    debug: (f, m) => {
      inner.debug(clean(f), m);
    },
    info: (f, m) => {
      inner.info(clean(f), m);
    },
    warn: (f, m) => {
      inner.warn(clean(f), m);
    },
    error: (f, m) => {
      inner.error(clean(f), m);
    },
    child: (f) => wrap(inner.child(clean(f))),
  };
}

function clean(fields: LogFields): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (typeof value === 'string') out[key] = printable(value, 1024);
    else if (value instanceof Error) out[key] = printable(value.stack ?? value.message, 4096);
    else out[key] = value;
  }
  return out;
}
