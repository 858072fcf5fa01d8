import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { EnvironmentError, errnoOf, UserError } from '#base/mod.ts';

/** One running `polyboot install`, as the commands that steer it find it. */
export type InstallSession = {
  /** After the image; by this name the others mean it. */
  readonly name: string;
  readonly pid: number;
  /** QEMU's second control socket. */
  readonly control: string;
  /** Where short-lived files of this session may lie. */
  readonly folder: string;
  /** The floppies of `--floppy`, absolute, in their order. */
  readonly floppies: readonly string[];
  readonly writableFloppies: boolean;
};

/**
 * The installations that run on this host by this user: a small file for each, in a folder that a
 * restart of the host empties. What a killed one left is found by its pid and removed.
 */
export class InstallSessions {
  readonly #folder: string;

  constructor(runtimeFolder: string) {
    this.#folder = join(runtimeFolder, 'install');
  }

  /** Throws UserError `install-running` when an installation has that name already. */
  record(session: InstallSession): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    if (this.list().some((s) => s.name === session.name)) {
      throw new UserError('conflict', 'install-running', {
        what: `an installation on "${session.name}" is running already`,
        todo: `end it first: polyboot install stop --name ${session.name}`,
      });
    }
    const path = this.#path(session.name);
    writeFileSync(`${path}.new`, JSON.stringify(session), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  remove(name: string): void {
    rmSync(this.#path(name), { force: true });
  }

  /** Those that run, by name. */
  list(): readonly InstallSession[] {
    const found: InstallSession[] = [];
    for (const file of this.#files()) {
      // Written by `record` and renamed into place when whole.
      const session = JSON.parse(readFileSync(join(this.#folder, file), 'utf8')) as InstallSession;
      if (isAlive(session.pid)) found.push(session);
      else this.remove(session.name);
    }
    return found;
  }

  /** The one of that name, or the only one. Throws UserError `install-unknown`, `install-which`. */
  find(name?: string): InstallSession {
    const running = this.list();
    const chosen = name === undefined ? running : running.filter((s) => s.name === name);
    const [only, second] = chosen;
    if (only === undefined) {
      throw new UserError('not-found', 'install-unknown', {
        what: name === undefined ? 'no installation is running' : `none runs on "${name}"`,
        todo: 'start one: polyboot install IMAGE --floppy FILE',
      });
    }
    if (second === undefined) return only;
    throw new UserError('invalid', 'install-which', {
      what: `${chosen.length} installations are running`,
      todo: `say which: --name ${chosen.map((s) => s.name).join(' or --name ')}`,
    });
  }

  #path(name: string): string {
    return join(this.#folder, `${name}.json`);
  }

  #files(): string[] {
    try {
      return readdirSync(this.#folder)
        .filter((f) => f.endsWith('.json'))
        .sort();
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return [];
      throw new EnvironmentError('install-folder', {
        what: `cannot look for running installations in ${this.#folder}`,
        why: String(errnoOf(e)),
      });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    // EPERM: alive, and another user's.
    return errnoOf(e) === 'EPERM';
  }
}

/** The name by which the other commands mean an installation on this disk. */
export function sessionName(nameOrPath: string): string {
  const name = basename(nameOrPath).replaceAll(/[^A-Za-z0-9._-]+/g, '-');
  return name.replace(/^\.+/, '') || 'disk';
}
