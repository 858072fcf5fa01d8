import type { WriteStream } from 'node:tty';
import { errnoOf, messageOf } from '#base/mod.ts';
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
  const broken = outputFaults(wantsOut);
  const script = process.argv[1] ?? '';
  const code = await runCli(argv, {
    local: localCommands({
      terminal,
      env,
      self: [process.execPath, script],
      signal: wantsOut.signal,
    }),
    stdout: outputOf(stdout),
    stderr: outputOf(stderr),
    env,
    socket: defaultSocket(env, process.getuid?.() === 0),
    version: programVersion(),
    cwd: process.cwd(),
    signal: wantsOut.signal,
  });
  // What was written before is out by then, or its error is there.
  await new Promise<void>((resolve) => {
    stdout.write('', () => {
      resolve();
    });
  });
  const fault = broken();
  if (fault === undefined || errnoOf(fault) === 'EPIPE') return code;
  stderr.write(`polyboot: the output could not be written: ${messageOf(fault)}\n`);
  return 1;
}

/**
 * Nobody reads any more (`| head`), or the disk is full (`> lab.yaml`): the command is cancelled,
 * and the first error is told. A server goes on without its output.
 */
function outputFaults(wantsOut: AbortController): () => Error | undefined {
  let first: Error | undefined;
  process.stdout.on('error', (e) => {
    first ??= e;
    wantsOut.abort();
  });
  // Whom should it be told?
  process.stderr.on('error', () => undefined);
  return () => first;
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
