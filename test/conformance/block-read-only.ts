import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import type { Needs } from '../lab/need.ts';
import { asked, kindIs, readBytes } from './block-device.ts';
import type { SubjectFactory } from './block-device.ts';

const MIB = 1024 * 1024;

/** What is on the disk of a read-only subject: each 512 bytes begin with their number. */
export function numberedContent(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 512) bytes.writeUInt32LE(at / 512 + 1, at);
  return bytes;
}

type Cases = Readonly<Record<string, (d: BlockDevice, content: Buffer) => Promise<void>>>;

const CASES: Cases = {
  'says that it is read-only and gives nothing back': async (d, content) => {
    assert.equal(d.readOnly, true);
    assert.equal(d.canDiscard, false);
    assert.equal(d.sizeBytes, content.length);
    assert.equal(d.sizeBytes % d.blockBytes, 0);
    await Promise.resolve();
  },

  'refuses every way to change the disk, and changes nothing': async (d, content) => {
    const block = Buffer.alloc(d.blockBytes, 0xff);
    assert.throws(() => d.tryWrite(0, block, 0, block.length), kindIs('read-only'));
    const ways: ((done: BlockDone) => void)[] = [
      (done) => d.write(0, block, 0, block.length, done),
      (done) => d.discard(0, d.blockBytes, done),
      (done) => d.writeZeroes(0, d.blockBytes, done),
    ];
    for (const way of ways) {
      let returned = false;
      const call = asked((done) => {
        way((error) => {
          assert.ok(returned, 'not before the call returned');
          done(error);
        });
      });
      returned = true;
      await assert.rejects(call, kindIs('read-only'));
    }
    const back = await readBytes(d, 0, d.blockBytes);
    assert.ok(back.equals(content.subarray(0, d.blockBytes)));
  },

  'reads right at any place, to any place, in any length, together': async (d, content) => {
    const blocks = d.sizeBytes / d.blockBytes;
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const from = (i * 7919) % blocks;
        const offset = from * d.blockBytes;
        const length = Math.min(1 + ((i * 31) % 700), blocks - from) * d.blockBytes;
        const into = Buffer.alloc(length + 9, 0xee);
        if (i % 3 === 0 || !d.tryRead(offset, into, 8, length)) {
          await asked((done) => d.read(offset, into, 8, length, done));
        }
        assert.ok(into.subarray(8, 8 + length).equals(content.subarray(offset, offset + length)));
        assert.deepEqual([into[7], into[8 + length]], [0xee, 0xee], 'and not one byte more');
      }),
    );
  },

  'reads all of it in one call': async (d, content) => {
    const into = Buffer.alloc(content.length);
    await asked((done) => d.read(0, into, 0, into.length, done));
    assert.ok(into.equals(content));
  },

  'a flush has nothing to do and says so': async (d) => {
    await Promise.all([1, 2, 3].map(() => asked((done) => d.flush(done))));
  },

  'keeps its size when it looks again, and its extents cover it': async (d, content) => {
    await asked((done) => d.rescan(done));
    assert.equal(d.sizeBytes, content.length);
    for (let at = 0; at < d.sizeBytes;) {
      const extent = d.extentAt(at, d.sizeBytes - at);
      assert.ok(extent.lengthBytes > 0 && at + extent.lengthBytes <= d.sizeBytes);
      assert.equal(extent.state, 'data', 'every block of this disk has data');
      at += extent.lengthBytes;
    }
  },

  'close lets reads finish, is idempotent, and afterwards all is gone': async (d, content) => {
    const into = Buffer.alloc(MIB);
    await Promise.all([
      asked((done) => d.read(0, into, 0, MIB, done)),
      asked((done) => d.close(done)),
    ]);
    assert.ok(into.equals(content.subarray(0, MIB)));
    await asked((done) => d.close(done));
    await assert.rejects(readBytes(d, 0, d.blockBytes), kindIs('gone'));
    await assert.rejects(
      asked((done) => d.flush(done)),
      kindIs('gone'),
    );
  },
};

/**
 * What every `BlockDevice` that is read-only must do. The factory gives a disk of whole MiB whose
 * content is `numberedContent` of its size.
 */
export function readOnlySuite(name: string, make: SubjectFactory, needs: Needs = {}): void {
  for (const [what, body] of Object.entries(CASES)) {
    test(`${name}: ${what}`, async (t) => {
      if (!need(t, needs)) return;
      const { device, cleanUp } = await make();
      try {
        await body(device, numberedContent(device.sizeBytes));
      } finally {
        await asked((done) => device.close(done));
        await cleanUp();
      }
    });
  }
}
