import { Command as Program, CommanderError, Option } from 'commander';
import { AdminClient } from '#api/mod.ts';
import {
  errnoOf,
  explain,
  messageOf,
  PolybootError,
  systemClock,
  UserError,
  type Clock,
} from '#base/mod.ts';
import { Call, type Command, type Context, type OptionSpec } from './command.ts';
import { COMMANDS, GROUPS } from './commands/all.ts';
import type { LocalCommands } from './local-commands.ts';
import { safe, Screen, type Output } from './screen.ts';

/** What the command line needs of its surroundings; `main.ts` brings the real ones. */
export type CliDeps = {
  readonly local: LocalCommands;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Admin socket when --socket does not name another. */
  readonly socket: string;
  readonly version: string;
  readonly cwd: string;
  /** Aborts when the person wants out (SIGINT). */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
};

/** Done, failed, misused: the exit codes of the contract. */
const EXIT = { DONE: 0, FAILED: 1, MISUSED: 2 } as const;

/** Runs one command line (without `node` and the script). Resolves to the exit code. */
export async function runCli(argv: readonly string[], deps: CliDeps): Promise<number> {
  const screen = new Screen(deps.stdout, deps.stderr, deps.env);
  let exit: number = EXIT.DONE;
  const program = buildProgram(deps, screen, (code) => {
    exit = code;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exit;
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode === 0 ? EXIT.DONE : EXIT.MISUSED;
    if (deps.signal.aborted) return EXIT.FAILED;
    for (const line of complaint(e).split('\n')) screen.note(safe(line));
    return e instanceof UserError && e.code === 'misused' ? EXIT.MISUSED : EXIT.FAILED;
  }
}

/** Errors of a file system or of limits that nobody has put into better words. */
const HOST_SAYS_NO: ReadonlySet<string> = new Set(
  'EACCES EPERM EROFS ENOSPC EDQUOT EMFILE ENFILE ENOMEM EIO'.split(' '),
);

function complaint(e: unknown): string {
  if (e instanceof PolybootError && 'explanation' in e) return `polyboot: ${e.message}`;
  if (HOST_SAYS_NO.has(errnoOf(e) ?? '')) {
    return explain({
      what: 'polyboot: this host does not allow it',
      why: messageOf(e),
      todo: 'see who may write there and whether there is room; most commands need root (sudo)',
    });
  }
  const why = e instanceof Error ? (e.stack ?? e.message) : String(e);
  return explain({
    what: 'polyboot: this is a mistake in polyboot',
    why,
    todo: 'please report it',
  });
}

function buildProgram(deps: CliDeps, screen: Screen, done: (code: number) => void): Program {
  const program = new Program('polyboot')
    .description('Boot any machine over the network from disk images on one server')
    .version(deps.version)
    .option('--socket <PATH>', 'admin socket of the server', deps.socket);
  const groups = new Map<string, Program>();
  for (const command of COMMANDS) {
    const [first, second] = command.words;
    let parent = program;
    if (second !== undefined) {
      parent = groups.get(first) ?? program.command(first).description(GROUPS[first] ?? '');
      groups.set(first, parent);
    }
    const made = parent.command(second ?? first);
    // "install IMAGE" and "install swap": a command that has others below it.
    if (second === undefined) groups.set(first, made);
    define(made, command, async (call) => {
      const { socket } = program.opts<{ socket: string }>();
      done(await command.run(call, contextOf(deps, screen, socket)));
    });
  }
  settle(program, screen);
  return program;
}

function contextOf(deps: CliDeps, screen: Screen, socket: string): Context {
  const { local, signal, cwd, clock = systemClock } = deps;
  return { screen, local, signal, cwd, clock, client: new AdminClient(socket) };
}

function define(program: Program, command: Command, run: (call: Call) => Promise<void>): void {
  program.description(command.summary);
  if (command.details !== undefined) program.addHelpText('after', `\n${command.details}`);
  const args = command.args ?? [];
  for (const { name, help } of args) program.argument(`<${name}>`, help);
  for (const spec of command.options ?? []) program.addOption(optionOf(spec));
  program.action(async (...given: unknown[]) => {
    const values = Object.fromEntries(args.map(({ name }, n) => [name, String(given[n])]));
    await run(new Call(values, longNames(program)));
  });
}

function optionOf({ flags, help, repeat, choices, fallback }: OptionSpec): Option {
  const option = new Option(flags, help);
  if (choices !== undefined) option.choices([...choices]);
  if (fallback !== undefined) option.default(fallback);
  if (repeat === true)
    option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  return option;
}

/** Values by the long name of their option, as a command's text names them. */
function longNames(program: Program): Record<string, unknown> {
  return Object.fromEntries(
    program.options.map((option) => [
      option.name(),
      program.getOptionValue(option.attributeName()),
    ]),
  );
}

/** Nothing of commander's ends the process or writes past our screen. */
function settle(program: Program, screen: Screen): void {
  program.exitOverride();
  program.showHelpAfterError('(--help shows what there is)');
  program.configureOutput({
    writeOut: (text) => {
      screen.out.write(text);
    },
    writeErr: (text) => {
      screen.err.write(text);
    },
    getOutHelpWidth: () => screen.out.columns ?? 100,
    getErrHelpWidth: () => screen.err.columns ?? 100,
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
  for (const sub of program.commands) settle(sub, screen);
}
