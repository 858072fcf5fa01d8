import { once } from 'node:events';
import { Running, run } from '../lab/process.ts';

/**
 * A small file system in a mount namespace of its own: whatever happens to the test, it is gone
 * with the process that holds it. Needs root and unshare.
 */
export class SmallDisk {
  /** Where others see its root. */
  readonly path: string;
  readonly #holder: Running;

  private constructor(holder: Running, path: string) {
    this.#holder = holder;
    this.path = path;
  }

  /** Mounts one in memory, `sizeBytes` large, over the empty folder `at`. */
  static async mount(at: string, sizeBytes: number): Promise<SmallDisk> {
    return await SmallDisk.#hold(at, `-t tmpfs -o size=${sizeBytes} tmpfs`);
  }

  /** Mounts the file system on a block device over it. */
  static async mountDevice(at: string, device: string): Promise<SmallDisk> {
    return await SmallDisk.#hold(at, device);
  }

  static async #hold(at: string, what: string): Promise<SmallDisk> {
    const script = `mount ${what} "$1" && echo mounted && read -r _`;
    const holder = new Running('unshare', ['-m', 'sh', '-c', script, 'sh', at]);
    await holder.waitFor(/mounted/);
    return new SmallDisk(holder, `/proc/${holder.pid}/root${at}`);
  }

  async close(): Promise<void> {
    this.#holder.child.stdin?.end();
    if (this.#holder.running) await once(this.#holder.child, 'close');
  }
}

/** A block device of the kernel over a file (losetup): what fails below it fails as a disk does. */
export class LoopDevice {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async attach(file: string): Promise<LoopDevice> {
    return new LoopDevice((await run('losetup', ['--find', '--show', file])).trim());
  }

  /** Forgets what the page cache knows of it, so that reads reach the file. */
  async dropCache(): Promise<void> {
    await run('blockdev', ['--flushbufs', this.path]);
  }

  /** At once, or as soon as nobody has it open. */
  async detach(): Promise<void> {
    await run('losetup', ['--detach', this.path]);
  }
}
