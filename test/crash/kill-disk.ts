import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { BasePool, checkQcow2, createQcow2, openDisk } from '#block/mod.ts';
import type { BlockDone, DiskSource, Qcow2CreateOptions } from '#block/mod.ts';
import { which } from '../lab/need.ts';
import { Running } from '../lab/process.ts';
import { BlockOracle } from '../sim/block-oracle.ts';
import type { Random } from '../sim/random.ts';
import { BLOCK_BYTES, writeStamp } from '../sim/stamp.ts';
import type { TargetDisk } from './target.ts';

export const BLOCKS = 1024;
const SIZE_BYTES = BLOCKS * BLOCK_BYTES;
/** Kills that a qcow2 image lives for: a full one has nothing left to allocate. */
const LIVES = 12;
/** QEMU's own check costs a process: one kill in so many. */
const QEMU_EVERY = 8;

type Shape = Omit<Qcow2CreateOptions, 'sizeBytes'>;

/** What new images are like. */
const PLAIN: readonly Shape[] = [
  { clusterBytes: 512 },
  { clusterBytes: 4096 },
  { clusterBytes: 4096, lazyRefcounts: true },
  { clusterBytes: 1024, refcountBits: 1 },
  { clusterBytes: 65_536 },
];
const OVERLAYS: readonly Shape[] = [
  { clusterBytes: 2048, extendedL2: false },
  { clusterBytes: 16_384, extendedL2: true },
  { clusterBytes: 1024, compat: '0.10' },
];

/** One disk that outlives its targets, with what is known about it. */
export abstract class KillDisk {
  readonly path: string;
  oracle = new BlockOracle(BLOCKS);
  /** The last in use; never used again, not even on a new image. */
  generation = 1;

  constructor(path: string) {
    this.path = path;
  }

  abstract get target(): TargetDisk;
  /** UNMAP works. */
  get discards(): boolean {
    return true;
  }

  /** Before a target: makes the image, or a new one when this has lived long enough. */
  async prepare(_random: Random): Promise<void> {}

  /** After a kill, before any target opens it again. Throws what is wrong. */
  abstract killed(): Promise<void>;

  /** A fresh target shows this content. Throws what is lost. */
  opened(content: Buffer): void {
    try {
      this.oracle.crashed(content);
    } catch (cause) {
      throw new Error(`${this.path}: ${String(cause)}`, { cause });
    }
  }
}

/** A raw file: what it holds is seen in the file itself, at once. */
class RawDisk extends KillDisk {
  readonly #cache: TargetDisk['cache'];
  readonly #log: string | undefined;

  constructor(path: string, cache: TargetDisk['cache'], log?: string) {
    super(path);
    this.#cache = cache;
    this.#log = log;
    sparse(path);
  }

  override get target(): TargetDisk {
    const log = this.#log === undefined ? {} : { log: this.#log };
    return { source: { kind: 'raw', path: this.path }, cache: this.#cache, ...log };
  }

  override async killed(): Promise<void> {
    // An atomic write may be in its log still: the next target writes it.
    if (this.#log !== undefined) return;
    const content = Buffer.alloc(SIZE_BYTES);
    const fd = openSync(this.path, 'r');
    try {
      assert.equal(readSync(fd, content, 0, content.length, 0), content.length);
    } finally {
      closeSync(fd);
    }
    this.opened(content);
  }
}

/** A raw file under a target that answers before it writes. */
class HastyDisk extends RawDisk {
  override get target(): TargetDisk {
    return { ...super.target, hasty: true };
  }
}

/** A qcow2 image, with a base below it or without. */
class Qcow2Disk extends KillDisk {
  readonly #base: string | null;
  #lives = 0;
  #checks = 0;
  #compat: Shape['compat'];

  constructor(path: string, base: string | null) {
    super(path);
    this.#base = base;
  }

  override get target(): TargetDisk {
    const backing =
      this.#base === null ? {} : { backing: { kind: 'raw', path: this.#base } as const };
    return { source: { kind: 'qcow2', path: this.path, ...backing }, cache: 'writeback' };
  }

  /** A version 2 overlay has no way to discard. */
  override get discards(): boolean {
    return this.#base === null || this.#compat !== '0.10';
  }

  override async prepare(random: Random): Promise<void> {
    if (this.#lives > 0) {
      this.#lives -= 1;
      return;
    }
    this.#lives = LIVES;
    if (existsSync(this.path)) {
      // What the last kill left is judged before it goes.
      this.opened(await contentOf(this.target.source));
      rmSync(this.path);
    }
    const shape = random.pick(this.#base === null ? PLAIN : OVERLAYS);
    this.#compat = shape.compat;
    const backing =
      this.#base === null ? {} : { backing: { file: this.#base, format: 'raw' } as const };
    await createQcow2(this.path, { sizeBytes: SIZE_BYTES, ...shape, ...backing });
    this.oracle = new BlockOracle(BLOCKS, this.#base === null ? undefined : baseContent());
  }

  override async killed(): Promise<void> {
    const report = await checkQcow2(this.path);
    assert.equal(report.errors, 0, `${this.path}: ${report.findings.join('; ')}`);
    this.#checks += 1;
    if (this.#checks % QEMU_EVERY !== 0 || which('qemu-img') === undefined) return;
    const check = new Running('qemu-img', ['check', '-f', 'qcow2', this.path]);
    const { code, stdout, stderr } = await check.finished();
    // 3: leaked clusters and no errors.
    assert.ok(code === 0 || code === 3, `${this.path}: ${code}\n${stdout}${stderr}`);
  }
}

/** The disks of one lane, in its folder. */
export function makeDisks(folder: string): KillDisk[] {
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('base.raw'), baseContent());
  return [
    new RawDisk(at('writeback.raw'), 'writeback'),
    new RawDisk(at('writethrough.raw'), 'writethrough'),
    new RawDisk(at('atomic.raw'), 'writeback', at('atomic.log')),
    new Qcow2Disk(at('plain.qcow2'), null),
    new Qcow2Disk(at('overlay.qcow2'), at('base.raw')),
  ];
}

/** What a disk holds, read by a device in this process. */
async function contentOf(source: DiskSource): Promise<Buffer> {
  const device = await openDisk(source, {}, new BasePool());
  const content = Buffer.alloc(SIZE_BYTES);
  const asked = (start: (done: BlockDone) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      start((error) => (error === null ? resolve() : reject(error)));
    });
  await asked((done) => {
    device.read(0, content, 0, content.length, done);
  });
  await asked((done) => {
    device.close(done);
  });
  return content;
}

/** What must be noticed. */
export function makeHastyDisks(folder: string): KillDisk[] {
  return [new HastyDisk(join(folder, 'hasty.raw'), 'writeback')];
}

function sparse(path: string): void {
  writeFileSync(path, '');
  truncateSync(path, SIZE_BYTES);
}

/** Every second block of the base has data: copies on write must bring along what is beside. */
function baseContent(): Buffer {
  const content = Buffer.alloc(SIZE_BYTES);
  for (let lba = 0; lba < BLOCKS; lba += 2) {
    writeStamp(content, lba * BLOCK_BYTES, { tag: lba, generation: 1 });
  }
  return content;
}
