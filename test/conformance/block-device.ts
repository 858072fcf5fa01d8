import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import type { Needs } from '../lab/need.ts';
import { asked, kindIs, readBytes, writeBytes } from './block-calls.ts';

export { asked, kindIs, readBytes, writeBytes } from './block-calls.ts';

/** A device under test, and what puts away what it stood on. */
export type Subject = { readonly device: BlockDevice; readonly cleanUp: () => Promise<void> };

/** What an implementation cannot do, by its nature. */
export type Lacks = {
  /** Why it cannot tell a hole from data, though it gives space back. */
  readonly holes?: string;
};

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
    const counts = starts.map(() => 0);
    for (const [n, start] of starts.entries()) {
      let returned = false;
      await asked((done) => {
        start((error) => {
          counts[n]! += 1;
          assert.ok(returned, 'not before the call returned');
          done(error);
        });
        returned = true;
      });
    }
    // A second answer would come later than the first.
    await asked((done) => d.flush(done));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
      counts,
      starts.map(() => 1),
    );
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

const LONG: Cases = {
  'takes calls much longer than any piece it may cut them into': async (d) => {
    const bytes = Buffer.alloc(3 * MIB + d.blockBytes);
    for (let at = 0; at < bytes.length; at += 512) bytes.writeUInt32LE(at + 1, at);
    await asked((done) => {
      d.write(5 * d.blockBytes, bytes, 0, bytes.length, done);
    });
    const back = Buffer.alloc(bytes.length);
    await asked((done) => {
      d.read(5 * d.blockBytes, back, 0, back.length, done);
    });
    assert.ok(back.equals(bytes));
  },

  'keeps nothing of the memory that a write came from': async (d) => {
    const from = Buffer.alloc(64 * 1024, 0x11);
    await writeBytes(d, MIB, from);
    from.fill(0x22);
    await asked((done) => {
      d.flush(done);
    });
    assert.ok((await readBytes(d, MIB, from.length)).every((b) => b === 0x11));
  },

  'flushes among writes and reads that are under way, each answered once': async (d) => {
    let answers = 0;
    const calls: Promise<void>[] = [];
    const call = (start: (done: BlockDone) => void): void => {
      calls.push(
        asked((done) => {
          start((error) => {
            answers += 1;
            done(error);
          });
        }),
      );
    };
    const into = Buffer.alloc(4096);
    for (let i = 0; i < 50; i++) {
      const piece = Buffer.alloc(4096, i + 1);
      call((done) => d.write(i * 4096, piece, 0, 4096, done));
      call((done) => d.read(2 * MIB + i * 4096, into, 0, 4096, done));
      if (i % 5 === 0) call((done) => d.flush(done));
    }
    await Promise.all(calls);
    assert.equal(answers, calls.length);
    for (let i = 0; i < 50; i++) assert.equal((await readBytes(d, i * 4096, 4096))[0], i + 1);
  },
};

async function tellsHoles(d: BlockDevice): Promise<void> {
  await writeBytes(d, 0, Buffer.alloc(2 * MIB, 9));
  await asked((done) => {
    d.discard(MIB, MIB, done);
  });
  const extent = d.extentAt(MIB, MIB);
  assert.equal(extent.state, d.canDiscard ? 'hole' : extent.state);
}

const SPACE: Cases = {
  'discard leaves zeros there, and nothing else changes': (d) => leavesZeros(d, 'discard'),

  'writeZeroes leaves zeros there, and nothing else changes': (d) => leavesZeros(d, 'writeZeroes'),

  'what was discarded, or was never written, takes data again': async (d) => {
    for (let round = 1; round <= 3; round++) {
      const data = Buffer.alloc(3 * d.blockBytes, round);
      await writeBytes(d, 7 * d.blockBytes, data);
      assert.ok((await readBytes(d, 7 * d.blockBytes, data.length)).equals(data));
      await asked((done) => {
        d[round === 2 ? 'writeZeroes' : 'discard'](0, MIB, done);
      });
      assert.ok((await readBytes(d, 0, MIB)).every((b) => b === 0));
    }
  },

  'the whole disk can be discarded': async (d) => {
    await writeBytes(d, d.sizeBytes - d.blockBytes, Buffer.alloc(d.blockBytes, 1));
    await asked((done) => {
      d.discard(0, d.sizeBytes, done);
    });
    assert.ok((await readBytes(d, d.sizeBytes - MIB, MIB)).every((b) => b === 0));
  },

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

  'a discarded range that was data can be told from data, where space is given back': tellsHoles,
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
  'close lets what is under way finish, and writes of it are there': async (d) => {
    const block = Buffer.alloc(64 * 1024, 0x77);
    const into = Buffer.alloc(block.length);
    await writeBytes(d, 0, block);
    const order: string[] = [];
    const note = (what: string) => (): void => {
      order.push(what);
    };
    await Promise.all([
      asked((done) => d.write(MIB, block, 0, block.length, done)).then(note('write')),
      asked((done) => d.read(0, into, 0, into.length, done)).then(note('read')),
      asked((done) => d.close(done)).then(note('close')),
    ]);
    assert.equal(order.at(-1), 'close');
    assert.ok(into.equals(block));
  },

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

/**
 * What every `BlockDevice` that can be written must do. One call per implementation; `needs`: what
 * the machine must have for it.
 */
export function blockDeviceSuite(
  name: string,
  make: SubjectFactory,
  needs: Needs = {},
  lacks: Lacks = {},
): void {
  const calls = { ...SHAPE, ...ANY_PLACE, ...CALLBACKS, ...TOGETHER, ...LONG };
  const all = { ...calls, ...SPACE, ...SIZE, ...END };
  for (const [what, body] of Object.entries(all)) {
    if (body === tellsHoles && lacks.holes !== undefined) continue;
    test(`${name}: ${what}`, async (t) => {
      if (need(t, needs)) await using(make, body);
    });
  }
}
