import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { Running, run } from '../lab/process.ts';

/** A folder that goes away with the test. */
export function home(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-qcow2-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

/** A call of a device as a promise; rejects with its `BlockError`. */
export function asked(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Closes a device; an error fails the test. */
export function closed(device: BlockDevice): Promise<void> {
  return asked((done) => {
    device.close(done);
  });
}

/** The whole disk. */
export async function contents(device: BlockDevice): Promise<Buffer> {
  const into = Buffer.alloc(device.sizeBytes);
  for (let at = 0; at < into.length; at += 64 * 1024) {
    const length = Math.min(64 * 1024, into.length - at);
    // Both ways to read must say the same; they take turns.
    if (at % (128 * 1024) === 0 && device.tryRead(at, into, at, length)) continue;
    await asked((done) => {
      device.read(at, into, at, length, done);
    });
  }
  return into;
}

/** Runs qemu-io commands on an image. */
export async function qemuIo(
  image: string,
  commands: readonly string[],
  format = 'qcow2',
): Promise<string> {
  const args = ['-f', format, ...commands.flatMap((c) => ['-c', c]), image];
  const output = await run('qemu-io', args);
  assert.ok(!/fail|error/i.test(output), output);
  return output;
}

/** qemu-img must find neither errors nor leaks. */
export async function qemuChecks(image: string): Promise<void> {
  const output = await run('qemu-img', ['check', '-f', 'qcow2', image]);
  assert.match(output, /No errors were found/);
}

/** What qemu-img reads from an image (backing files followed), as raw bytes in `to`. */
export async function toRaw(image: string, to: string): Promise<void> {
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, to]);
}

/** A command that must fail; returns what it said. */
export async function failing(command: string, args: readonly string[]): Promise<string> {
  const process = new Running(command, args);
  process.child.stdin?.end();
  const { code, stdout, stderr } = await process.finished();
  assert.notEqual(code, 0, `${command} ${args.join(' ')} should fail`);
  return stdout + stderr;
}
