import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { StateFile, decodeState, encodeState, systemFiles } from './state-file.ts';
import type { StateFiles } from './state-file.ts';

function home(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-state-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

function save(file: StateFile, value: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    file.save(value, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** What a new process would find. */
async function found(path: string): Promise<unknown> {
  const file = await StateFile.open(path, 'disk-1');
  await file.close();
  return file.initial;
}

test('state-file: what was saved is there for the next opener, and nothing where nothing was', async (t) => {
  const path = join(home(t), 'disk-1.state');
  assert.equal(await found(path), undefined);
  const file = await StateFile.open(path, 'disk-1');
  await save(file, { a: [1, 'two', null] });
  await file.close();
  assert.deepEqual(await found(path), { a: [1, 'two', null] });
});

test('state-file_group-commit: saves that come together are written once, the last for all', async (t) => {
  const folder = home(t);
  const path = join(folder, 'disk-1.state');
  const written: string[] = [];
  const counting: StateFiles = {
    ...systemFiles,
    write: async (to, bytes) => {
      written.push(bytes.toString());
      await systemFiles.write(to, bytes);
    },
  };
  const file = await StateFile.open(path, 'disk-1', counting);
  const all = [1, 2, 3, 4, 5].map((n) => save(file, n));
  await Promise.all(all);
  assert.equal(written.length, 2);
  await file.close();
  assert.equal(await found(path), 5);
  assert.deepEqual(readdirSync(folder), ['disk-1.state', 'disk-1.state.lock']);
});

test('state-file_damaged: cut short, changed, empty or foreign is an error, never an empty state', async (t) => {
  const path = join(home(t), 'disk-1.state');
  const whole = encodeState('disk-1', { keys: ['aa'] });
  const refused = { code: 'state-damaged' };
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => decodeState(whole.subarray(0, length), 'disk-1', path), refused);
  }
  for (let byte = 0; byte < whole.length; byte++) {
    for (let bit = 0; bit < 8; bit++) {
      const bytes = Buffer.from(whole);
      bytes[byte] = (bytes[byte] ?? 0) ^ (1 << bit);
      assert.throws(() => decodeState(bytes, 'disk-1', path), refused, `byte ${byte} bit ${bit}`);
    }
  }
  assert.throws(() => decodeState(whole, 'disk-2', path), refused);
  assert.deepEqual(decodeState(whole, 'disk-1', path), { keys: ['aa'] });
  writeFileSync(path, '');
  await assert.rejects(StateFile.open(path, 'disk-1'), refused);
  // The refusal let go of the lock, and left the file as it was.
  assert.equal(readFileSync(path).length, 0);
  writeFileSync(path, whole);
  assert.deepEqual(await found(path), { keys: ['aa'] });
});

test('state-file_in-use: one opener at a time', async (t) => {
  const path = join(home(t), 'disk-1.state');
  const first = await StateFile.open(path, 'disk-1');
  await assert.rejects(StateFile.open(path, 'disk-1'), { code: 'state-in-use' });
  await first.close();
  await (await StateFile.open(path, 'disk-1')).close();
});

const STEPS = ['write', 'rename', 'syncFolder'] as const;

test('state-file_faults: a step that fails is told; the state is whole; the next save works', async (t) => {
  for (const broken of STEPS) {
    const path = join(home(t), 'disk-1.state');
    let armed = false;
    const fail = async (): Promise<never> => {
      await Promise.resolve();
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    };
    const files: StateFiles = {
      read: systemFiles.read,
      write: (to, bytes) => (armed && broken === 'write' ? fail() : systemFiles.write(to, bytes)),
      rename: (from, to) => (armed && broken === 'rename' ? fail() : systemFiles.rename(from, to)),
      syncFolder: (at) => (armed && broken === 'syncFolder' ? fail() : systemFiles.syncFolder(at)),
    };
    const file = await StateFile.open(path, 'disk-1', files);
    await save(file, 'old');
    armed = true;
    await assert.rejects(save(file, 'new'), { code: 'state-not-saved' });
    const onDisk = decodeState(readFileSync(path), 'disk-1', path);
    assert.equal(onDisk, broken === 'syncFolder' ? 'new' : 'old');
    armed = false;
    await save(file, 'newer');
    await file.close();
    assert.equal(await found(path), 'newer');
  }
});

/** A folder that forgets what was not flushed: data per file, names per folder. */
class PowerCutFiles implements StateFiles {
  #durable = new Map<string, Buffer>();
  #names = new Map<string, Buffer>();
  /** Calls left before the power goes. */
  #left: number;

  constructor(calls: number) {
    this.#left = calls;
  }

  readonly read = (path: string): Promise<Buffer | null> =>
    Promise.resolve(this.#names.get(path) ?? null);

  readonly write = async (path: string, bytes: Buffer): Promise<void> => {
    await this.#step();
    this.#names.set(path, bytes);
  };

  readonly rename = async (from: string, to: string): Promise<void> => {
    await this.#step();
    const bytes = this.#names.get(from);
    assert.ok(bytes !== undefined);
    this.#names.set(to, bytes);
    this.#names.delete(from);
  };

  readonly syncFolder = async (): Promise<void> => {
    await this.#step();
    this.#durable = new Map(this.#names);
  };

  /** What each outcome of the cut leaves under a name: renames may or may not have got there. */
  left(path: string): (Buffer | undefined)[] {
    return [this.#durable.get(path), this.#names.get(path)];
  }

  async #step(): Promise<void> {
    await Promise.resolve();
    if (this.#left === 0) throw new Error('no power');
    this.#left -= 1;
  }
}

test('state-file_power-cut: at every step it leaves a whole state, no older than acknowledged', async (t) => {
  const path = join(home(t), 'disk-1.state');
  for (let calls = 0; calls <= 12; calls++) {
    const files = new PowerCutFiles(calls);
    const file = await StateFile.open(path, 'disk-1', files);
    let acknowledged = 0;
    for (let n = 1; n <= 4; n++) {
      try {
        await save(file, n);
        acknowledged = n;
      } catch {
        break;
      }
    }
    await file.close();
    for (const bytes of files.left(path)) {
      const n = bytes === undefined ? 0 : Number(decodeState(bytes, 'disk-1', path));
      assert.ok(n >= acknowledged && n <= acknowledged + 1, `${calls} calls: ${n}`);
    }
  }
});
