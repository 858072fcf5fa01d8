import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
    // Those that died make room.
    this.list();
    const path = this.#path(session.name);
    const whole = `${path}.${session.pid}`;
    writeFileSync(whole, JSON.stringify(session), { mode: 0o600 });
    try {
      // Unlike a rename, a link takes no name from another that starts in the same moment.
      linkSync(whole, path);
    } catch (e) {
      if (errnoOf(e) !== 'EEXIST') throw e;
      throw new UserError('conflict', 'install-running', {
        what: `an installation on "${session.name}" is running already`,
        todo: `end it first: polyboot install stop --name ${session.name}`,
      });
    } finally {
      rmSync(whole, { force: true });
    }
  }

  remove(name: string): void {
    rmSync(this.#path(name), { force: true });
  }

  /** Those that run, by name. */
  list(): readonly InstallSession[] {
    const found: InstallSession[] = [];
    for (const file of this.#files()) {
      const session = readSession(join(this.#folder, file));
      if (session === undefined) continue;
      if (isAlive(session)) found.push(session);
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

/** Written by `record`, which gives it its name when it is whole; undefined: it ended meanwhile. */
function readSession(file: string): InstallSession | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as InstallSession;
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined;
    throw e;
  }
}

/**
 * Its process is QEMU with sockets in its folder. The number alone may be another's by now, or a
 * dead process's that nobody has waited for, as in a container without an init.
 */
function isAlive({ pid, folder }: InstallSession): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(basename(folder));
  } catch {
    return false;
  }
}

/** The name by which the other commands mean an installation on this disk. */
export function sessionName(nameOrPath: string): string {
  const name = basename(nameOrPath).replaceAll(/[^A-Za-z0-9._-]+/g, '-');
  return name.replace(/^\.+/, '') || 'disk';
}
