import type { WriteStream } from 'node:tty';
import { runCli, type Output } from '#cli/mod.ts';
import { localCommands } from './local-commands.ts';
import type { Terminal } from './output.ts';
import { defaultSocket } from './paths.ts';
import { programVersion } from './version.ts';

/** Runs one command line with the real terminal, environment and signals; resolves to its code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { stdout, stderr, env } = process;
  const colour = stdout.isTTY && (env['NO_COLOR'] ?? '') === '';
  const terminal: Terminal = {
    out: (text) => stdout.write(text),
    error: (text) => stderr.write(text),
    colour,
  };
  const wantsOut = new AbortController();
  process.once('SIGINT', () => {
    wantsOut.abort();
  });
  const script = process.argv[1] ?? '';
  return await runCli(argv, {
    local: localCommands({ terminal, env, self: [process.execPath, script] }),
    stdout: outputOf(stdout),
    stderr: outputOf(stderr),
    env,
    socket: defaultSocket(env, process.getuid?.() === 0),
    version: programVersion(),
    cwd: process.cwd(),
    signal: wantsOut.signal,
  });
}

/** Its size is asked each time: a terminal is resized while `watch` runs. */
function outputOf(stream: WriteStream): Output {
  return {
    write: (text) => {
      stream.write(text);
    },
    isTty: stream.isTTY,
    get columns() {
      return stream.columns;
    },
    get rows() {
      return stream.rows;
    },
  };
}
