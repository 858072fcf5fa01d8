import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';

/** How a finished process ended, with all it wrote. */
export type Finished = {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
};

/**
 * Limits that only a process which hangs comes to, on a host several times slower than a
 * developer's and busy with other tests.
 */
const WAIT_LIMIT_MS = 120_000;
const END_LIMIT_MS = 240_000;
const STOP_LIMIT_MS = 30_000;
const RUN_LIMIT_MS = 900_000;

/**
 * A child process of a test: keeps what it writes, and waits for a line or for its end. Never a
 * sleep; every wait has a time limit whose message shows the output so far.
 */
export class Running {
  readonly child: ChildProcess;
  readonly name: string;
  #stdout = '';
  #stderr = '';
  readonly #ended: Promise<Finished>;
  readonly #wake = new Set<() => void>();
  /** It has ended, and all it wrote is here: its exit is known before its last words are. */
  #over = false;

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.name = [command, ...args].join(' ');
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    this.child.stdout?.setEncoding('utf8').on('data', (d: string) => {
      this.#stdout += d;
      this.#notify();
    });
    this.child.stderr?.setEncoding('utf8').on('data', (d: string) => {
      this.#stderr += d;
      this.#notify();
    });
    this.#ended = new Promise((resolve) => {
      this.child.on('error', (e) => {
        this.#stderr += `${e.message}\n`;
      });
      this.child.on('close', (code, signal) => {
        this.#over = true;
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
        this.#notify();
      });
    });
  }

  /** All that was written so far, standard output first. */
  get output(): string {
    return this.#stdout + this.#stderr;
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Waits until the output matches; throws when the process ends or the limit passes first. */
  async waitFor(pattern: RegExp, limitMs = WAIT_LIMIT_MS): Promise<RegExpExecArray> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      const match = pattern.exec(this.output);
      if (match !== null) return match;
      if (this.#over) throw new Error(`${this.name}: ended before ${pattern}\n${this.output}`);
      const leftMs = deadline - Date.now();
      if (leftMs <= 0)
        throw new Error(`${this.name}: no ${pattern} in ${limitMs} ms\n${this.output}`);
      await this.#change(leftMs);
    }
  }

  /** Waits for the end. */
  async finished(limitMs = END_LIMIT_MS): Promise<Finished> {
    const limit = AbortSignal.timeout(limitMs);
    const late = once(limit, 'abort').then(() => undefined);
    const result = await Promise.race([this.#ended, late]);
    if (result !== undefined) return result;
    this.child.kill('SIGKILL');
    throw new Error(`${this.name}: still running after ${limitMs} ms\n${this.output}`);
  }

  /** Ends it (SIGTERM, then SIGKILL when that does not help) and returns how it ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished> {
    if (this.running) this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_LIMIT_MS);
    try {
      return await this.#ended;
    } finally {
      clearTimeout(timer);
    }
  }

  #notify(): void {
    for (const wake of this.#wake) wake();
  }

  #change(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake.delete(done);
        resolve();
      };
      const timer = setTimeout(done, limitMs);
      this.#wake.add(done);
    });
  }
}

/** Runs a command to its end and returns its output; a non-zero exit throws with all of it. */
export async function run(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<string> {
  const process = new Running(command, args, options);
  process.child.stdin?.end();
  const result = await process.finished(RUN_LIMIT_MS);
  if (result.code !== 0) {
    throw new Error(
      `${process.name}: exit ${result.code ?? result.signal}\n${result.stdout}${result.stderr}`,
    );
  }
  return result.stdout;
}
