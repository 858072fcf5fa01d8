import { constants } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EnvironmentError, UserError, crc32c, errnoOf, messageOf } from '#base/mod.ts';
import { lockImage } from '#os/mod.ts';
import { syncFolder } from './sync-folder.ts';

/**
 * A small piece of plain data in a file that is always whole: it is written beside, flushed, and
 * renamed over the old one.
 *
 * | step                    | a crash after it: `StateFile.open` finds              |
 * |-------------------------|-------------------------------------------------------|
 * | `.new` written, flushed | the old state (and a `.new`, which nobody reads)      |
 * | renamed                 | the old state or the new one, each of them whole      |
 * | folder flushed          | the new state; only now is `save` answered            |
 *
 * So a file that is not whole was damaged by something else, and is an error: to begin anew in
 * silence would let a machine write where another holds a reservation (hostile case 32).
 */
export class StateFile {
  /** What was saved last; undefined when nothing ever was. */
  readonly initial: unknown;
  readonly #path: string;
  readonly #owner: string;
  readonly #lock: FileHandle;
  readonly #files: StateFiles;
  #waiting: { value: unknown; done: SaveDone[] } | null = null;
  #writes: Promise<void> | null = null;

  private constructor(
    path: string,
    owner: string,
    lock: FileHandle,
    files: StateFiles,
    initial: unknown,
  ) {
    this.#path = path;
    this.#owner = owner;
    this.#lock = lock;
    this.#files = files;
    this.initial = initial;
  }

  /**
   * Opens the state of `owner` at `path`, and locks it (`path` with `.lock`) against a second
   * process. Throws UserError `state-in-use`, EnvironmentError `state-damaged` for a file that is
   * torn, of another owner or of another program, and what the file system says.
   */
  static async open(
    path: string,
    owner: string,
    files: StateFiles = systemFiles,
  ): Promise<StateFile> {
    const lock = await open(`${path}.lock`, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      takeLock(lock.fd, path);
      const bytes = await files.read(path);
      const initial = bytes === null ? undefined : decodeState(bytes, owner, path);
      await rm(`${path}.new`, { force: true });
      return new StateFile(path, owner, lock, files, initial);
    } catch (e) {
      await lock.close();
      throw e;
    }
  }

  /**
   * Saves plain data (as JSON has it); `done` when it is on stable media. What is saved while an
   * earlier save is being written is written together, the latest state for all (group commit).
   */
  save(value: unknown, done: SaveDone): void {
    if (this.#waiting === null) this.#waiting = { value, done: [done] };
    else {
      this.#waiting.value = value;
      this.#waiting.done.push(done);
    }
    this.#writes ??= this.#writeAll();
  }

  /** Waits for saves under way, and lets go of the lock. */
  async close(): Promise<void> {
    await this.#writes;
    await this.#lock.close();
  }

  async #writeAll(): Promise<void> {
    for (let batch = this.#waiting; batch !== null; batch = this.#waiting) {
      this.#waiting = null;
      let error: Error | null = null;
      try {
        await this.#write(encodeState(this.#owner, batch.value));
      } catch (cause) {
        error = unsaved(this.#path, cause);
      }
      for (const done of batch.done) done(error);
    }
    this.#writes = null;
  }

  async #write(bytes: Buffer): Promise<void> {
    const fresh = `${this.#path}.new`;
    await this.#files.write(fresh, bytes);
    await this.#files.rename(fresh, this.#path);
    await this.#files.syncFolder(dirname(this.#path));
  }
}

/** Answers a save: null when it is on stable media. */
export type SaveDone = (error: Error | null) => void;

/** What a `StateFile` does to the file system; tests put faults in between. */
export type StateFiles = {
  /** The bytes of a file, null when there is none. */
  readonly read: (path: string) => Promise<Buffer | null>;
  /** Makes or replaces a file; resolves when its bytes are on stable media. */
  readonly write: (path: string, bytes: Buffer) => Promise<void>;
  readonly rename: (from: string, to: string) => Promise<void>;
  /** The names in a folder to stable media. */
  readonly syncFolder: (path: string) => Promise<void>;
};

/** The file system itself. */
export const systemFiles: StateFiles = {
  read: async (path) => {
    try {
      return await readFile(path);
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return null;
      throw e;
    }
  },
  write: async (path, bytes) => {
    const file = await open(path, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
  },
  rename,
  syncFolder,
};

const FORMAT = 'polyboot-state';
const VERSION = 1;

/** One line that says what the rest is, then JSON: people can read it. */
export function encodeState(owner: string, value: unknown): Buffer {
  const body = Buffer.from(`${JSON.stringify({ owner, state: value }, null, 1)}\n`, 'utf8');
  const sum = crc32c(body, 0, body.length).toString(16).padStart(8, '0');
  return Buffer.concat([Buffer.from(`${FORMAT} ${VERSION} ${body.length} ${sum}\n`), body]);
}

/** The state in a file's bytes. Throws EnvironmentError `state-damaged`. */
export function decodeState(bytes: Buffer, owner: string, path: string): unknown {
  const lineEnd = bytes.indexOf(0x0a);
  const line = bytes.toString('latin1', 0, Math.max(0, Math.min(lineEnd, 80)));
  const match = /^polyboot-state (\d{1,9}) (\d{1,9}) ([0-9a-f]{8})$/.exec(line);
  if (match === null) throw damaged(path, 'it is not a file of this kind, or its head is gone');
  const [, version, length, sum] = match;
  if (Number(version) !== VERSION) throw damaged(path, `its version ${version} is not known here`);
  const body = bytes.subarray(lineEnd + 1);
  const right = body.length === Number(length) && crc32c(body, 0, body.length) === parse16(sum);
  if (!right) throw damaged(path, 'its checksum is wrong');
  const kept = JSON.parse(body.toString('utf8')) as { owner?: unknown; state?: unknown };
  if (kept.owner !== owner) throw damaged(path, `it belongs to ${String(kept.owner)}`);
  return kept.state;
}

function parse16(text: string | undefined): number {
  return Number.parseInt(text ?? '', 16);
}

function takeLock(fd: number, path: string): void {
  try {
    lockImage(fd, 'exclusive');
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause;
    throw new UserError(
      'conflict',
      'state-in-use',
      {
        what: `the state of a disk, ${path}, cannot be used`,
        why: cause.explanation.why ?? 'another program uses it',
        todo: 'end that program, or use another folder for the state',
      },
      { cause },
    );
  }
}

function damaged(path: string, why: string): EnvironmentError {
  return new EnvironmentError('state-damaged', {
    what: `the state of a disk, ${path}, cannot be read`,
    why,
    todo: 'bring it back from a backup, or remove it: reservations and saved settings are then gone',
  });
}

function unsaved(path: string, cause: unknown): EnvironmentError {
  const explanation = {
    what: `the state of a disk, ${path}, could not be saved`,
    why: messageOf(cause),
    todo: 'see to it that the folder is there and has room',
  };
  return new EnvironmentError('state-not-saved', explanation, { cause });
}
