/** Random lives of an image against a copy in memory: writes, zeros, snapshots, deaths. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { MemoryDevice, checkQcow2, createQcow2, openQcow2 } from '#block/mod.ts';
import type { Qcow2CreateOptions, Qcow2Device } from '#block/mod.ts';
import { asked, readBytes } from './block-device.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 3 * MIB;
const BASE_BYTES = 2 * MIB + 512;

const place = fc.record({
  at: fc.nat(SIZE_BYTES / 512 - 1),
  blocks: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 1500 })),
  fill: fc.integer({ min: 1, max: 255 }),
});
type Place = { readonly at: number; readonly blocks: number; readonly fill: number };

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ verb: fc.constant('write' as const), place }) },
  { weight: 3, arbitrary: fc.record({ verb: fc.constant('discard' as const), place }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('zero' as const), place }) },
  // Many at a time, each to blocks of its own: their order does not matter.
  { weight: 3, arbitrary: fc.record({ verb: fc.constant('burst' as const), place }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('flush' as const) }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('snapshot' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constantFrom('apply' as const, 'delete' as const),
      n: fc.nat(9),
    }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constantFrom('reopen' as const, 'die' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** An image, and what must be in it. */
class Life {
  readonly #path: string;
  readonly #backing: MemoryDevice | null;
  #device: Qcow2Device;
  #disk: Buffer;
  #kept: { id: string; content: Buffer }[] = [];
  #names = 0;

  private constructor(path: string, backing: MemoryDevice | null, device: Qcow2Device) {
    this.#path = path;
    this.#backing = backing;
    this.#device = device;
    this.#disk = Buffer.alloc(SIZE_BYTES);
    if (backing === null) return;
    for (let at = 0; at < BASE_BYTES; at += 512) {
      this.#disk.fill(1 + ((at / 512) % 255), at, at + 512);
    }
    backing.load(this.#disk.subarray(0, BASE_BYTES));
  }

  static async begin(path: string, options: Partial<Qcow2CreateOptions>): Promise<Life> {
    rmSync(path, { force: true });
    const overlay = options.backing !== undefined;
    const backing = overlay ? new MemoryDevice({ sizeBytes: BASE_BYTES }) : null;
    await createQcow2(path, { sizeBytes: SIZE_BYTES, ...options });
    return new Life(path, backing, await openQcow2(path, { backing, lock: false }));
  }

  async take(s: Step): Promise<void> {
    switch (s.verb) {
      case 'write':
      case 'discard':
      case 'zero':
        return this.#change(s.verb, s.place);
      case 'burst':
        return this.#burst(s.place);
      case 'flush':
        return asked((done) => this.#device.flush(done));
      case 'snapshot': {
        this.#names += 1;
        const { id } = await this.#device.createSnapshot(`state ${this.#names}`);
        this.#kept.push({ id, content: Buffer.from(this.#disk) });
        return;
      }
      case 'apply':
      case 'delete':
        return this.#goBack(s.verb, s.n);
      case 'reopen':
        await asked((done) => this.#device.close(done));
        return this.#open();
      case 'die':
        // Nothing of the old one runs any more: nobody asks it, and it has nothing to do.
        await asked((done) => this.#device.flush(done));
        await this.#change('write', { at: 77, blocks: 3, fill: 0x77 });
        return this.#open();
    }
  }

  /** Everything is as it must be; the image is closed, and sound but for what deaths leaked. */
  async end(died: boolean): Promise<void> {
    assert.ok((await readBytes(this.#device, 0, SIZE_BYTES)).equals(this.#disk), 'the disk');
    for (const { id, content } of this.#kept) {
      await this.#device.applySnapshot(id);
      assert.ok((await readBytes(this.#device, 0, SIZE_BYTES)).equals(content), `snapshot ${id}`);
    }
    await asked((done) => this.#device.close(done));
    const report = await checkQcow2(this.#path);
    assert.deepEqual([report.errors, died ? 0 : report.leaks], [0, 0], report.findings.join('; '));
  }

  async #change(verb: 'write' | 'discard' | 'zero', p: Place): Promise<void> {
    const offset = p.at * 512;
    const length = Math.min(p.blocks * 512, SIZE_BYTES - offset);
    const bytes = Buffer.alloc(length, p.fill);
    this.#disk.fill(verb === 'write' ? p.fill : 0, offset, offset + length);
    if (verb === 'discard') return asked((done) => this.#device.discard(offset, length, done));
    if (verb === 'zero') return asked((done) => this.#device.writeZeroes(offset, length, done));
    if (p.fill % 3 !== 0 && this.#device.tryWrite(offset, bytes, 0, length)) return;
    await asked((done) => this.#device.write(offset, bytes, 0, length, done));
  }

  async #burst(p: Place): Promise<void> {
    const count = 24;
    const all: Promise<void>[] = [];
    for (let n = 0; n < count; n++) {
      const at = (p.at + n * ((p.fill % 40) + 3)) % (SIZE_BYTES / 512 - 3);
      const verb = n % 7 === 3 ? 'discard' : n % 7 === 5 ? 'zero' : 'write';
      all.push(
        this.#change(verb, { at, blocks: 1 + (p.fill % 3), fill: 1 + ((p.fill + n) % 255) }),
      );
    }
    await Promise.all(all);
  }

  async #goBack(verb: 'apply' | 'delete', n: number): Promise<void> {
    const chosen = this.#kept[n % Math.max(1, this.#kept.length)];
    if (chosen === undefined) return;
    if (verb === 'apply') {
      await this.#device.applySnapshot(chosen.id);
      this.#disk = Buffer.from(chosen.content);
    } else {
      await this.#device.deleteSnapshot(chosen.id);
      this.#kept = this.#kept.filter((k) => k !== chosen);
    }
    assert.deepEqual(
      this.#device.snapshots().map((s) => s.id),
      this.#kept.map((k) => k.id),
    );
  }

  async #open(): Promise<void> {
    this.#device = await openQcow2(this.#path, { backing: this.#backing, lock: false });
  }
}

const OVER = { backing: { file: 'base.raw', format: 'raw' as const } };
const SHAPES: Readonly<Record<string, Partial<Qcow2CreateOptions>>> = {
  plain: {},
  'clusters of 512 bytes': { clusterBytes: 512 },
  'clusters of 2 MiB': { clusterBytes: 2 * MIB },
  'version 2': { compat: '0.10' },
  'refcounts of 4 bits': { refcountBits: 4, clusterBytes: 4 * KIB },
  subclusters: { extendedL2: true, clusterBytes: 16 * KIB },
  overlay: { ...OVER, extendedL2: false },
  'overlay, subclusters': OVER,
  'overlay, version 2': { ...OVER, compat: '0.10' },
};

for (const [name, options] of Object.entries(SHAPES)) {
  test(`qcow2 ${name}: a random life is what a copy in memory says`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'polyboot-qcow2-'));
    try {
      const lives = fc.array(step, { minLength: 4, maxLength: 30 });
      await fc.assert(
        fc.asyncProperty(lives, async (list) => {
          const life = await Life.begin(join(folder, 'a.qcow2'), options);
          for (const s of list) await life.take(s);
          await life.end(list.some((s) => s.verb === 'die'));
        }),
        { numRuns: 8, seed: 21 },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
