import type { AdminClient } from '#api/mod.ts';
import type { Clock } from '#base/mod.ts';
import { UserError } from '#base/mod.ts';
import type { LocalCommands } from './local-commands.ts';
import type { Screen } from './screen.ts';

/** One option of a command, as data. Its value is read by its long name. */
export type OptionSpec = {
  /** "--size <SIZE>", "-n, --dry-run", as commander takes them. */
  readonly flags: string;
  readonly help: string;
  /** May be given several times; the order is kept. */
  readonly repeat?: true;
  readonly choices?: readonly string[];
  readonly fallback?: string;
};

export type ArgumentSpec = { readonly name: string; readonly help: string };

/** One command: what it is called, what it takes, what it does. */
export type Command = {
  /** ["machine", "add"]: the words after `polyboot`. */
  readonly words: readonly [string] | readonly [string, string];
  readonly summary: string;
  readonly details?: string;
  readonly args?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  /** Resolves to the exit code. */
  readonly run: (call: Call, context: Context) => Promise<number>;
};

/** What every command may use. */
export type Context = {
  readonly screen: Screen;
  readonly client: AdminClient;
  readonly local: LocalCommands;
  readonly clock: Clock;
  /** Aborts when the person presses Ctrl-C. */
  readonly signal: AbortSignal;
  /** Folder that relative paths start from. */
  readonly cwd: string;
};

/** What the command line said, read by name. */
export class Call {
  readonly #args: Readonly<Record<string, string>>;
  readonly #options: Readonly<Record<string, unknown>>;

  constructor(args: Readonly<Record<string, string>>, options: Readonly<Record<string, unknown>>) {
    this.#args = args;
    this.#options = options;
  }

  /** A positional argument. */
  arg(name: string): string {
    return this.#args[name] ?? '';
  }

  /** An option's value, or undefined when it was not given. */
  text(name: string): string | undefined {
    const value = this.#options[name];
    return typeof value === 'string' ? value : undefined;
  }

  /** Whether an option without a value was given. */
  flag(name: string): boolean {
    return this.#options[name] === true;
  }

  /** All values of an option that may be repeated, in order; undefined when it was not given. */
  list(name: string): string[] | undefined {
    const value = this.#options[name];
    return Array.isArray(value) ? value.map(String) : undefined;
  }

  /** A whole number. Throws `misused`. */
  integer(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^\d{1,9}$/.test(text)) throw misused(`--${name} needs a number, not "${text}"`);
    return Number(text);
  }
}

/** The caller's words do not fit the command: exit code 2. */
export function misused(what: string, todo?: string): UserError {
  return new UserError('invalid', 'misused', { what, ...(todo === undefined ? {} : { todo }) });
}

/** The option that every listing has. */
export const JSON_OPTION: OptionSpec = { flags: '--json', help: 'print JSON instead of a table' };
