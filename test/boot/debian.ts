import assert from 'node:assert/strict';
import type { VirtualMachine } from '#vm/mod.ts';
import { Running, run } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';

/** One command of a shell, where the processor is translated and the host is busy. */
const COMMAND_LIMIT_MS = 300_000;
/** What the kernel writes in the middle of a command's answer makes the command come again. */
const QUIET_LIMIT_MS = 60_000;
const QUIET_TRIES = 5;
/** How long a prompt may be hidden before another one is asked for. */
const PROMPT_AGAIN_MS = 30_000;

/**
 * Waits for the prompt of a shell. What others write on the console behind it (the kernel, a unit
 * that tells it is up) hides it: then another Enter brings another one.
 */
export async function waitForPrompt(machine: VirtualMachine): Promise<void> {
  const deadlineMs = machine.elapsedMs + GUEST_LIMIT_MS;
  for (;;) {
    try {
      await machine.serial.waitFor(/[#$] $/, PROMPT_AGAIN_MS);
      return;
    } catch (e) {
      if (machine.serial.closed || machine.elapsedMs >= deadlineMs) throw e;
      machine.serial.write('\r');
    }
  }
}

/** A root shell on a Debian guest's serial line. */
export class DebianShell {
  readonly #machine: VirtualMachine;
  #commands = 0;

  private constructor(machine: VirtualMachine) {
    this.#machine = machine;
  }

  /**
   * Waits for the login prompt, logs in as root (the test image has no password), and waits until
   * nothing is started any more: what units say on the console is no answer to a command.
   */
  static async login(machine: VirtualMachine): Promise<DebianShell> {
    // What else is said on the console may come behind it.
    await machine.serial.waitFor(/ login: /, GUEST_LIMIT_MS);
    machine.serial.write('root\r');
    const shell = await DebianShell.atPrompt(machine);
    await shell.run('until systemctl list-jobs | grep -q ^No; do sleep 0.2; done', GUEST_LIMIT_MS);
    return shell;
  }

  /** Waits for the prompt of a root shell that needs no login. */
  static async atPrompt(machine: VirtualMachine): Promise<DebianShell> {
    await waitForPrompt(machine);
    const shell = new DebianShell(machine);
    await shell.quiet();
    // Long lines are not folded.
    await shell.run('stty -echo cols 2000');
    return shell;
  }

  /** Keeps the kernel's messages from the line: in the middle of an answer they are no answer. */
  async quiet(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.run('dmesg -n 1', QUIET_LIMIT_MS);
        return;
      } catch (e) {
        if (tries === QUIET_TRIES || this.#machine.serial.closed) throw e;
      }
    }
  }

  /** Runs a command; returns what it printed. A non-zero exit throws. */
  async run(command: string, limitMs = COMMAND_LIMIT_MS): Promise<string> {
    const mark = `mark${++this.#commands}`;
    // The quotes keep the echoed command line from looking like the answer.
    this.#machine.serial.write(`echo "${mark}"-begin; ${command}; echo "${mark}"-end $?\r`);
    await this.#machine.serial.waitFor(new RegExp(`^.*${mark}-begin\\n`, 'm'), limitMs);
    const end = new RegExp(`([^]*?)${mark}-end (\\d+)\\n`);
    const match = await this.#machine.serial.waitFor(end, limitMs);
    assert.equal(match[2], '0', `${command}: exit ${match[2]}\n${match[1]}`);
    return (match[1] ?? '').trim();
  }

  /** Starts a command that goes on by itself. */
  async start(command: string): Promise<void> {
    await this.run(`${command} </dev/null >/dev/null 2>&1 & true`);
  }

  /** Shuts the guest down and waits until its power is off. */
  async powerOff(): Promise<void> {
    this.#machine.serial.write('poweroff\r');
    // What Linux says last; after it only firmware runs.
    await this.#machine.serial.waitFor(/reboot: Power down/, GUEST_LIMIT_MS);
    const ending = await this.#machine.ended();
    assert.equal(ending.reason, 'guest-shutdown', this.#machine.serial.tail());
  }
}

/** The ext4 root of a Debian image on the host, without mounting it. */
export class DebianRoot {
  readonly #device: string;

  private constructor(device: string) {
    this.#device = device;
  }

  /** Finds the image's last partition, which is its root. */
  static async open(image: string): Promise<DebianRoot> {
    const table = await run('sgdisk', ['-p', image]);
    // "   3   77824   2097118   …": number, first and last sector.
    const start = [...table.matchAll(/^ +\d+ +(\d+) +\d+ /gm)].at(-1)?.[1];
    assert.ok(start !== undefined, `the image has no partitions:\n${table}`);
    // e2fsprogs takes the place of a file system inside a file as a suffix.
    return new DebianRoot(`${image}?offset=${Number(start) * 512}`);
  }

  /** The text of a file. */
  async read(path: string): Promise<string> {
    return await run('debugfs', ['-R', `cat ${path}`, this.#device]);
  }

  /** The names in a folder. */
  async list(path: string): Promise<string[]> {
    // "/12/100644/0/0/name/size/": the fifth field is the name.
    const listing = await run('debugfs', ['-R', `ls -p ${path}`, this.#device]);
    return listing.split('\n').map((line) => line.split('/')[5] ?? '');
  }

  /** Copies a file out of the image. */
  async dump(path: string, file: string): Promise<void> {
    await run('debugfs', ['-R', `dump ${path} ${file}`, this.#device]);
  }

  /** The file system's UUID, for `root=UUID=`. */
  async uuid(): Promise<string> {
    const facts = await run('debugfs', ['-R', 'show_super_stats -h', this.#device]);
    const uuid = /^Filesystem UUID:\s+(\S+)/m.exec(facts)?.[1];
    assert.ok(uuid !== undefined, facts);
    return uuid;
  }

  /** Fails unless e2fsck finds nothing at all to mend. */
  async assertClean(): Promise<void> {
    const check = await new Running('e2fsck', ['-f', '-n', this.#device]).finished();
    assert.equal(check.code, 0, check.stdout + check.stderr);
  }
}
