import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/**
 * Keeps a copy of a folder before every call that can change it: the states that a kill -9 at any
 * moment leaves behind, since what a killed process has written stays in the page cache. To be
 * installed before the code under test is loaded.
 */
export class CrashStates {
  readonly folder: string;
  readonly #copies: string;
  readonly #states: { readonly step: string; readonly path: string }[] = [];
  #recording = false;

  constructor(folder: string, copies: string) {
    this.folder = folder;
    this.#copies = copies;
    for (const name of CHANGING) this.#hook(name);
    syncBuiltinESMExports();
    // oxlint-disable-next-line typescript/unbound-method -- called with its database below
    const { exec } = DatabaseSync.prototype;
    const before = (step: string): void => {
      this.#before(step);
    };
    DatabaseSync.prototype.exec = function (sql: string): void {
      if (sql !== 'COMMIT') {
        exec.call(this, sql);
        return;
      }
      before('before COMMIT');
      exec.call(this, sql);
      before('after COMMIT');
    };
  }

  /** Runs `work` and resolves to the states that it went through, the last one included. */
  async during(
    work: () => Promise<unknown>,
  ): Promise<readonly { readonly step: string; readonly path: string }[]> {
    this.#states.length = 0;
    this.#recording = true;
    try {
      await work();
    } finally {
      this.#before('end');
      this.#recording = false;
    }
    return [...this.#states];
  }

  /** Makes the folder what it was in that state. */
  restore(path: string): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
    fs.renameSync(path, this.folder);
  }

  #hook(name: (typeof CHANGING)[number]): void {
    const original = fs[name] as (...args: unknown[]) => unknown;
    const hooked = (...args: unknown[]): unknown => {
      this.#before(`before ${name} ${typeof args[0] === 'string' ? args[0] : ''}`);
      return original.apply(fs, args);
    };
    Object.assign(fs, { [name]: hooked });
  }

  #before(step: string): void {
    if (!this.#recording) return;
    this.#recording = false;
    const path = join(this.#copies, String(this.#states.length));
    copyTree(this.folder, path, new Map());
    this.#states.push({ step, path });
    this.#recording = true;
  }
}

const CHANGING = [
  'openSync',
  'linkSync',
  'renameSync',
  'rmSync',
  'unlinkSync',
  'chmodSync',
  'fsyncSync',
  'ftruncateSync',
  'truncateSync',
  'writeSync',
  'writeFileSync',
  'write',
  'fsync',
  'fdatasync',
  'closeSync',
] as const;

/** Names of one file stay names of one file; a read-only file, which never changes, is shared. */
function copyTree(from: string, to: string, known: Map<number, string>): void {
  fs.mkdirSync(to);
  for (const entry of fs.readdirSync(from)) {
    const [source, target] = [join(from, entry), join(to, entry)];
    const stat = fs.statSync(source);
    const twin = known.get(stat.ino);
    if (stat.isDirectory()) copyTree(source, target, known);
    else if (twin !== undefined) fs.linkSync(twin, target);
    else if ((stat.mode & 0o222) === 0) fs.linkSync(source, target);
    else fs.copyFileSync(source, target);
    known.set(stat.ino, target);
  }
}
