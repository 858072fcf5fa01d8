import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, silentLog, systemClock, type Cancel, type Clock, type Log } from '#base/mod.ts';
import { qemuArguments, shellQuoted, type RunPaths } from './arguments.ts';
import { findUefiFirmware } from './firmware.ts';
import { checkHost, findProgram, makeRunFolder } from './host.ts';
import { OneConnection } from './listener.ts';
import { QmpClient } from './qmp.ts';
import { SerialConsole } from './serial.ts';
import type { MachineSpec } from './spec.ts';
import { startFailure } from './start-failure.ts';

/** What the surroundings decide. */
export type MachineOptions = {
  /** Network namespace to run in (`ip netns`); default: the caller's own. */
  readonly namespace?: string;
  /** Where the run folder is made; default the system's temporary folder. */
  readonly runParent?: string;
  readonly clock?: Clock;
  readonly log?: Log;
};

/** How a machine ended. `reason` is QEMU's: `guest-shutdown`, `guest-reset`, `host-qmp-quit` … */
export type Ending = {
  readonly reason: string | undefined;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
};

/** Resident memory of a machine's process. */
export type MachineMemory = { readonly nowBytes: number; readonly peakBytes: number };

/** QEMU connects while it starts, before it loads firmware; a busy two-core host takes 2 s. */
const START_LIMIT_MS = 20_000;
/** After `quit` QEMU only flushes its disks. */
const QUIT_LIMIT_MS = 5_000;
/** What QEMU prints to stderr is for error texts only. */
const STDERR_LIMIT = 64 * 1024;

/**
 * A running QEMU. It is a process group of its own (so that Ctrl-C in a terminal reaches us, not
 * it), and the kernel kills it when we die, however we die (PR_SET_PDEATHSIG, by setpriv).
 */
export class VirtualMachine {
  readonly spec: MachineSpec;
  readonly qmp: QmpClient;
  readonly serial: SerialConsole;
  /**
   * The private folder: sockets, UEFI variables, whatever the caller puts there. Gone after stop.
   */
  readonly folder: string;
  readonly #process: QemuProcess;
  readonly #clock: Clock;
  readonly #log: Log;
  #reason: string | undefined;
  #poweredOnMs = 0;

  private constructor(started: Started, spec: MachineSpec, clock: Clock, log: Log) {
    this.spec = spec;
    this.qmp = started.qmp;
    this.serial = started.serial;
    this.folder = started.folder;
    this.#process = started.process;
    this.#clock = clock;
    this.#log = log;
    this.qmp.onEvent((event) => {
      log.debug({ event: event.name, ...event.data }, 'vm event');
      if (event.name === 'SHUTDOWN') this.#reason = String(event.data['reason']);
    });
  }

  /**
   * Starts QEMU with the machine stopped before its first instruction. Throws EnvironmentError
   * (QEMU or firmware missing, no such tap, image in use …) or UserError; then nothing is left.
   */
  static async start(spec: MachineSpec, options: MachineOptions = {}): Promise<VirtualMachine> {
    const clock = options.clock ?? systemClock;
    const log = options.log ?? silentLog;
    await checkHost(spec, options.namespace);
    const folder = await makeRunFolder(options.runParent);
    try {
      const started = await launch(spec, folder, options.namespace, clock, log);
      return new VirtualMachine(started, spec, clock, log);
    } catch (e) {
      await rm(folder, { recursive: true, force: true });
      throw e;
    }
  }

  /** Turns the power on. Serial time stamps and `elapsedMs` count from here. */
  async powerOn(): Promise<void> {
    this.serial.startClock();
    this.#poweredOnMs = this.#clock.monotonicMs();
    await this.qmp.execute('cont');
  }

  /** Milliseconds since power-on. */
  get elapsedMs(): number {
    return this.#clock.monotonicMs() - this.#poweredOnMs;
  }

  get pid(): number {
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** Fulfilled when QEMU has ended, for whatever reason. */
  async ended(): Promise<Ending> {
    const exit = await this.#process.exited;
    return { reason: this.#reason, ...exit };
  }

  /** Resident memory now and at its highest; undefined when the machine has ended. */
  memory(): MachineMemory | undefined {
    return memoryOf(this.pid);
  }

  /** Presses the power button (ACPI); what happens is up to the guest. Throws QmpError. */
  async pressPower(): Promise<void> {
    await this.qmp.execute('system_powerdown');
  }

  /** Ends the machine now, as if the plug was pulled, and removes its folder. Never throws. */
  async stop(): Promise<Ending> {
    if (this.running) {
      // QEMU may close the socket before it answers; its end is what counts.
      await this.qmp.execute('quit', {}, QUIT_LIMIT_MS).catch(() => undefined);
      const cancel = this.#clock.after(QUIT_LIMIT_MS, () => {
        this.#log.warn({ name: this.spec.name }, 'QEMU did not quit; killing it');
        this.#process.kill();
      });
      await this.#process.exited;
      cancel();
    }
    this.qmp.close();
    this.serial.close();
    await rm(this.folder, { recursive: true, force: true });
    return await this.ended();
  }
}

type Started = {
  readonly process: QemuProcess;
  readonly qmp: QmpClient;
  readonly serial: SerialConsole;
  readonly folder: string;
};

async function launch(
  spec: MachineSpec,
  folder: string,
  namespace: string | undefined,
  clock: Clock,
  log: Log,
): Promise<Started> {
  const paths = await runPaths(spec, folder);
  const argv = commandLine(spec, paths, namespace);
  const command = shellQuoted(argv);
  const listeners = await Promise.all(
    [paths.qmpSocket, paths.serialSocket].map((path) => OneConnection.listen(path)),
  );
  log.debug({ command }, 'starting QEMU');
  const process = new QemuProcess(argv);
  try {
    const connected = Promise.all(listeners.map((l) => l.socket));
    const late = timeLimit(clock, START_LIMIT_MS);
    const sockets = await Promise.race([connected, process.exited, late.passed]);
    late.cancel();
    if (!Array.isArray(sockets)) throw startFailure(process.stderr, command);
    const [control, port] = sockets;
    if (control === undefined || port === undefined) throw startFailure('', command);
    const qmp = await QmpClient.connect(control, clock);
    return { process, qmp, serial: new SerialConsole(port, clock), folder };
  } catch (e) {
    process.kill();
    await process.exited;
    // QEMU greets before it opens disks and taps: what it printed says more than a closed socket.
    throw process.stderr.trim() === '' ? e : startFailure(process.stderr, command);
  } finally {
    for (const listener of listeners) listener.close();
  }
}

async function runPaths(spec: MachineSpec, folder: string): Promise<RunPaths> {
  const paths = {
    qmpSocket: join(folder, 'qmp.sock'),
    serialSocket: join(folder, 'serial.sock'),
    vncSocket: join(folder, 'vnc.sock'),
    controlSocket: join(folder, 'control.sock'),
  };
  if (spec.firmware === 'bios') return paths;
  const uefi = findUefiFirmware();
  // The variables hold the boot order; each machine writes its own.
  const variables = join(folder, 'uefi-variables.fd');
  await copyFile(uefi.variables, variables);
  return { ...paths, uefi: { code: uefi.code, variables } };
}

function commandLine(spec: MachineSpec, paths: RunPaths, namespace: string | undefined): string[] {
  // Both wrappers replace themselves by the next program: the pid we get is QEMU's.
  const inNamespace =
    namespace === undefined ? [] : [findProgram('ip'), 'netns', 'exec', namespace];
  const dieWithUs = [findProgram('setpriv'), '--pdeathsig', 'KILL', '--'];
  const qemu = [findProgram('qemu-system-x86_64'), ...qemuArguments(spec, paths)];
  return [...inNamespace, ...dieWithUs, ...qemu];
}

function timeLimit(clock: Clock, limitMs: number): { passed: Promise<undefined>; cancel: Cancel } {
  let cancel: Cancel = () => {};
  const passed = new Promise<undefined>((resolve) => {
    cancel = clock.after(limitMs, () => {
      resolve(undefined);
    });
  });
  return { passed, cancel };
}

type Exit = Omit<Ending, 'reason'>;

/** The process itself: its group, its last words, its end. */
class QemuProcess {
  readonly #child: ChildProcess;
  readonly exited: Promise<Exit>;
  #stderr = '';

  constructor(argv: readonly string[]) {
    const [file = '', ...args] = argv;
    this.#child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_LIMIT);
    });
    this.exited = new Promise((resolve) => {
      this.#child.on('error', (e) => {
        this.#stderr += `${e.message}\n`;
        resolve({ exitCode: null, signal: null, stderr: this.#stderr });
      });
      this.#child.on('close', (exitCode, signal) => {
        resolve({ exitCode, signal, stderr: this.#stderr });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return (
      this.#child.pid !== undefined &&
      this.#child.exitCode === null &&
      this.#child.signalCode === null
    );
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Kills the whole process group. */
  kill(): void {
    if (!this.running) return;
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch (e) {
      // ESRCH: it ended between the question and the signal.
      if (errnoOf(e) !== 'ESRCH') throw e;
    }
  }
}

function memoryOf(pid: number): MachineMemory | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined;
  }
  const bytes = (name: string): number => {
    const m = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status);
    return Number(m?.[1] ?? 0) * 1024;
  };
  return { nowBytes: bytes('VmRSS'), peakBytes: bytes('VmHWM') };
}
