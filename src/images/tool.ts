import { spawn } from 'node:child_process';
import { EnvironmentError, messageOf } from '#base/mod.ts';

/** How to run a program of the host. */
export type ToolRun = {
  readonly command: string;
  readonly args: readonly string[];
  /** Debian package that brings the program, for the message when it is missing. */
  readonly debianPackage: string;
  /** Bounds, as options of prlimit(1): "--as=2147483648". */
  readonly limits?: readonly string[];
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** File descriptor for standard output; else its lines go to `line` like those of errors. */
  readonly stdoutFd?: number;
  /** Descriptors that the program gets as 3, 4, 5 …  */
  readonly fds?: readonly number[];
  readonly signal?: AbortSignal;
  /** Every line that it writes. */
  readonly line?: (line: string) => void;
};

/** Lines of output kept for the error message. */
const KEPT_LINES = 12;
/** Between SIGTERM, on which the tools clean up after themselves, and SIGKILL. */
const GRACE_MS = 15_000;

/**
 * Runs a program to its end. It dies with us: SIGTERM when the server is killed, and when the
 * signal aborts (then this rejects with the signal's reason). Throws EnvironmentError
 * `tool-missing`, or `tool-failed` with its last lines.
 */
export async function runTool(run: ToolRun): Promise<void> {
  run.signal?.throwIfAborted();
  const tail: string[] = [];
  const keep = (line: string): void => {
    tail.push(line);
    if (tail.length > KEPT_LINES) tail.shift();
    run.line?.(line);
  };
  const code = await spawnAndWait(run, keep);
  run.signal?.throwIfAborted();
  if (code === 0) return;
  if (code === MISSING) throw missing(run);
  throw new EnvironmentError('tool-failed', {
    what: `${run.command} failed (${code})`,
    why: tail.join('\n       ') || 'it did not say why',
  });
}

/** setpriv's exit code when there is no such program, as a shell's. */
const MISSING = 127;

function spawnAndWait(run: ToolRun, line: (line: string) => void): Promise<number | string> {
  // setpriv (util-linux, always there) asks the kernel for SIGTERM at our death; a group of its own
  // lets a cancel reach the children of the tool too.
  const bounded = run.limits === undefined ? [] : ['prlimit', ...run.limits, '--'];
  const argv = ['--pdeathsig', 'TERM', '--', ...bounded, run.command, ...run.args];
  const child = spawn('setpriv', argv, {
    detached: true,
    stdio: ['ignore', run.stdoutFd ?? 'pipe', 'pipe', ...(run.fds ?? [])],
    env: { ...process.env, LC_ALL: 'C.UTF-8', PATH: searchPath(), ...run.env },
  });
  for (const stream of [child.stdout, child.stderr]) onLines(stream, line);
  const stop = (): void => {
    killGroup(child.pid, 'SIGTERM');
    setTimeout(() => {
      if (child.exitCode === null && child.signalCode === null) killGroup(child.pid, 'SIGKILL');
    }, GRACE_MS).unref();
  };
  run.signal?.addEventListener('abort', stop, { once: true });
  return new Promise((resolve, reject) => {
    child.on('error', (e) => {
      reject(
        new EnvironmentError('tool-missing', {
          what: `${run.command} cannot be started`,
          why: messageOf(e),
        }),
      );
    });
    // What it has left running (a child that missed SIGTERM between fork and exec, an agent of gpg)
    // would hold the pipes open, and must not outlive it.
    child.on('exit', () => {
      killGroup(child.pid, 'SIGKILL');
    });
    child.on('close', (code, signal) => {
      run.signal?.removeEventListener('abort', stop);
      resolve(code ?? signal ?? 'no reason');
    });
  });
}

// mke2fs, mkfs and others live in sbin, which users do not have in their PATH.
function searchPath(): string {
  return `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`;
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already: that is what was wanted.
  }
}

function onLines(stream: NodeJS.ReadableStream | null, line: (line: string) => void): void {
  if (stream === null) return;
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split(/[\r\n]+/);
    rest = lines.pop() ?? '';
    for (const l of lines) if (l.trim() !== '') line(l.trimEnd());
  });
  stream.on('end', () => {
    if (rest.trim() !== '') line(rest.trimEnd());
  });
}

function missing(run: ToolRun): EnvironmentError {
  return new EnvironmentError('tool-missing', {
    what: `the program ${run.command} is not installed`,
    todo: `apt-get install ${run.debianPackage}`,
  });
}
