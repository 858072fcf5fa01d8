import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BlockError } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';

/** A call of a device as a promise; rejects with its `BlockError`. */
export function asked(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** Reads, by `tryRead` where it can, else by `read`. */
export async function readBytes(
  device: BlockDevice,
  offset: number,
  length: number,
): Promise<Buffer> {
  const into = Buffer.alloc(length);
  if (!device.tryRead(offset, into, 0, length)) {
    await asked((done) => {
      device.read(offset, into, 0, length, done);
    });
  }
  return into;
}

/** Writes, by `tryWrite` where it can, else by `write`. */
export async function writeBytes(
  device: BlockDevice,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  if (device.tryWrite(offset, from, 0, from.length)) return;
  await asked((done) => {
    device.write(offset, from, 0, from.length, done);
  });
}

/** A device under test, and what puts away what it stood on. */
export type Subject = { readonly device: BlockDevice; readonly cleanUp: () => Promise<void> };

/** How the suite gets a fresh device, all zeros, of at least 4 MiB. */
export type SubjectFactory = () => Promise<Subject>;

const MIB = 1024 * 1024;

async function using(make: SubjectFactory, body: (device: BlockDevice) => Promise<void>) {
  const { device, cleanUp } = await make();
  try {
    await body(device);
  } finally {
    await asked((done) => {
      device.close(done);
    });
    await cleanUp();
  }
}

/** Tests of the suite by what they say. */
type Cases = Readonly<Record<string, (device: BlockDevice) => Promise<void>>>;

const SHAPE: Cases = {
  'has whole blocks': async (d) => {
    assert.equal(d.sizeBytes % d.blockBytes, 0);
    assert.equal(d.physicalBlockBytes % d.blockBytes, 0);
    assert.equal(d.readOnly, false);
    assert.ok(d.sizeBytes >= 4 * MIB, 'the suite needs 4 MiB');
    await Promise.resolve();
  },

  'reads zeros where nothing was written': async (d) => {
    const bytes = await readBytes(d, d.sizeBytes - d.blockBytes, d.blockBytes);
    assert.ok(bytes.every((b) => b === 0));
  },
};

const ANY_PLACE: Cases = {
  'reads back what was written, at any place and from any place': async (d) => {
    const reference = Buffer.alloc(4 * MIB);
    const blocks = reference.length / d.blockBytes;
    const runs = fc.array(
      fc.record({
        at: fc.nat(blocks - 1),
        length: fc.integer({ min: 1, max: 300 }),
        fill: fc.integer({ min: 1, max: 255 }),
        shift: fc.nat(100),
        waits: fc.boolean(),
      }),
      { minLength: 1, maxLength: 20 },
    );
    await fc.assert(
      fc.asyncProperty(runs, async (list) => {
        for (const run of list) {
          const length = Math.min(run.length, blocks - run.at) * d.blockBytes;
          const offset = run.at * d.blockBytes;
          const source = Buffer.alloc(run.shift + length, run.fill);
          reference.fill(run.fill, offset, offset + length);
          if (run.waits || !d.tryWrite(offset, source, run.shift, length)) {
            await asked((done) => {
              d.write(offset, source, run.shift, length, done);
            });
          }
          const into = Buffer.alloc(run.shift + length + 1, 0xee);
          if (run.waits || !d.tryRead(offset, into, run.shift, length)) {
            await asked((done) => {
              d.read(offset, into, run.shift, length, done);
            });
          }
          const got = into.subarray(run.shift, run.shift + length);
          assert.ok(got.equals(source.subarray(run.shift)), 'the bytes came back');
          assert.equal(into[run.shift + length], 0xee, 'and not one byte more');
        }
        const all = await readBytes(d, 0, reference.length);
        assert.ok(all.equals(reference), 'nothing else changed');
      }),
      { numRuns: 20, seed: 7 },
    );
  },
};

const CALLBACKS: Cases = {
  'answers a callback once, and never before the call returned': async (d) => {
    const block = Buffer.alloc(d.blockBytes, 1);
    const starts: ((done: BlockDone) => void)[] = [
      (done) => d.write(0, block, 0, block.length, done),
      (done) => d.read(0, block, 0, block.length, done),
      (done) => d.flush(done),
      (done) => d.discard(0, d.physicalBlockBytes, done),
      (done) => d.writeZeroes(0, d.physicalBlockBytes, done),
    ];
    for (const start of starts) {
      let answers = 0;
      let returned = false;
      await asked((done) => {
        start((error) => {
          answers += 1;
          assert.ok(returned, 'not before the call returned');
          done(error);
        });
        returned = true;
      });
      assert.equal(answers, 1);
    }
  },
};

const TOGETHER: Cases = {
  'keeps many calls apart that are under way together': async (d) => {
    const pieces = Array.from({ length: 32 }, (_, i) => Buffer.alloc(64 * 1024, i + 1));
    await Promise.all(
      pieces.map((p, i) =>
        asked((done) => {
          d.write(i * p.length, p, 0, p.length, done);
        }),
      ),
    );
    const backs = await Promise.all(
      pieces.map(async (p, i) => {
        const into = Buffer.alloc(p.length);
        await asked((done) => {
          d.read(i * p.length, into, 0, into.length, done);
        });
        return into;
      }),
    );
    backs.forEach((back, i) => {
      assert.ok(pieces[i]?.equals(back));
    });
  },

  'answers several flushes that are asked for together': async (d) => {
    await writeBytes(d, 0, Buffer.alloc(d.blockBytes, 3));
    await Promise.all(
      Array.from({ length: 5 }, () =>
        asked((done) => {
          d.flush(done);
        }),
      ),
    );
  },
};

const SPACE: Cases = {
  'discard leaves zeros there, and nothing else changes': (d) => leavesZeros(d, 'discard'),

  'writeZeroes leaves zeros there, and nothing else changes': (d) => leavesZeros(d, 'writeZeroes'),

  'extents cover the disk, and data is never called a hole': async (d) => {
    await writeBytes(d, MIB, Buffer.alloc(64 * 1024, 9));
    let at = 0;
    let data = 0;
    while (at < d.sizeBytes) {
      const extent = d.extentAt(at, d.sizeBytes - at);
      assert.ok(extent.lengthBytes > 0 && extent.lengthBytes % d.blockBytes === 0);
      if (extent.state === 'hole') {
        const bytes = await readBytes(d, at, Math.min(extent.lengthBytes, MIB));
        assert.ok(bytes.every((b) => b === 0));
      } else {
        data += extent.lengthBytes;
      }
      at += extent.lengthBytes;
    }
    assert.equal(at, d.sizeBytes);
    assert.ok(data >= 64 * 1024);
  },

  'a discarded range that was data can be told from data, where space is given back': async (d) => {
    await writeBytes(d, 0, Buffer.alloc(2 * MIB, 9));
    await asked((done) => {
      d.discard(MIB, MIB, done);
    });
    const extent = d.extentAt(MIB, MIB);
    assert.equal(extent.state, d.canDiscard ? 'hole' : extent.state);
  },
};

const SIZE: Cases = {
  'a disk that nobody changed keeps its size when it looks again': async (d) => {
    const before = d.sizeBytes;
    await asked((done) => {
      d.rescan(done);
    });
    assert.equal(d.sizeBytes, before);
  },

  'a disk that can grow keeps its data, and what is new reads as zeros': async (d) => {
    if (d.grow === undefined) return; // only its backend's owner can
    const before = d.sizeBytes;
    const block = Buffer.alloc(d.blockBytes, 0x5a);
    await writeBytes(d, before - d.blockBytes, block);
    await asked((done) => {
      d.grow?.(before + MIB, done);
    });
    assert.equal(d.sizeBytes, before + MIB);
    assert.ok((await readBytes(d, before - d.blockBytes, d.blockBytes)).equals(block));
    assert.ok((await readBytes(d, before, MIB)).equals(Buffer.alloc(MIB)));
    await writeBytes(d, before + MIB - d.blockBytes, block);
    assert.ok((await readBytes(d, before + MIB - d.blockBytes, d.blockBytes)).equals(block));
  },
};

const END: Cases = {
  'close is idempotent, and afterwards every call fails as gone': async (d) => {
    await asked((done) => {
      d.close(done);
    });
    await asked((done) => {
      d.close(done);
    });
    const block = Buffer.alloc(d.blockBytes);
    await assert.rejects(readBytes(d, 0, block.length), kindIs('gone'));
    await assert.rejects(writeBytes(d, 0, block), kindIs('gone'));
    await assert.rejects(
      asked((done) => {
        d.flush(done);
      }),
      kindIs('gone'),
    );
  },
};

async function leavesZeros(d: BlockDevice, way: 'discard' | 'writeZeroes'): Promise<void> {
  const data = Buffer.alloc(MIB, 0x5a);
  await writeBytes(d, 0, data);
  const from = 3 * d.blockBytes;
  const length = 256 * 1024 + d.blockBytes;
  await asked((done) => {
    d[way](from, length, done);
  });
  data.fill(0, from, from + length);
  assert.ok((await readBytes(d, 0, MIB)).equals(data));
}

/** What every `BlockDevice` that can be written must do. One call per implementation. */
export function blockDeviceSuite(name: string, make: SubjectFactory): void {
  const all = { ...SHAPE, ...ANY_PLACE, ...CALLBACKS, ...TOGETHER, ...SPACE, ...SIZE, ...END };
  for (const [what, body] of Object.entries(all)) test(`${name}: ${what}`, () => using(make, body));
}

/** For `assert.rejects` and `assert.throws`. */
export function kindIs(kind: BlockError['kind']): (e: unknown) => boolean {
  return (e) => {
    assert.ok(e instanceof BlockError, String(e));
    assert.equal(e.kind, kind);
    return true;
  };
}
