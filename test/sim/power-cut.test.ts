import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import type { ScsiCommand, ScsiTarget } from '#scsi/mod.ts';
import { FUA } from './cdb.ts';
import { live } from './power-cut-lives.ts';
import { firstSeeds, forSeeds, seeds } from './random.ts';
import { BLOCK_BYTES } from './stamp.ts';
import { liveInThread } from './worker.ts';
import type { WorldFault } from './world.ts';

/**
 * Durability contract 2, 3, 4 and 7 at a power cut, by simulation: the real logical unit over a
 * disk with a volatile cache, random commands from several initiators, cut at a random moment. The
 * medium then holds all that was flushed and any part of the rest; nothing that GOOD promised may
 * be missing, no block torn, nothing foreign.
 */
const LIVES = new URL('power-cut-lives.ts', import.meta.url);

test('power cut: nothing flushed is lost, by the logical unit', async () => {
  await liveInThread(LIVES, 'unit', seeds(10_000, 100_000));
});

test('power cut: nothing flushed is lost, through iSCSI sessions', async () => {
  await liveInThread(LIVES, 'sessions', seeds(1_000, 10_000));
});

/** A flush that says GOOD and does nothing. */
class LyingDevice extends FilterDevice {
  override flush(done: BlockDone): void {
    queueMicrotask(() => {
      done(null);
    });
  }
}

/** A flush that begins only after it was answered. */
class EarlyDevice extends FilterDevice {
  override flush(done: BlockDone): void {
    this.inner.flush(() => {});
    queueMicrotask(() => {
      done(null);
    });
  }
}

/** A failed flush is forgotten, and the next one may succeed. */
class ForgivingDevice extends FilterDevice {
  override flush(done: BlockDone): void {
    this.inner.flush(() => {
      done(null);
    });
  }
}

/** Data goes one block beside where it belongs, now and then. */
class CrookedDevice extends FilterDevice {
  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const beside = offset >= BLOCK_BYTES && lengthBytes === 3 * BLOCK_BYTES ? BLOCK_BYTES : 0;
    this.inner.write(offset - beside, from, at, lengthBytes, done);
  }
}

/** A block is cut in two: its halves reach the medium one without the other. */
class TearingDevice extends FilterDevice {
  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const mixed = Buffer.from(from.subarray(at, at + lengthBytes));
    const half = Buffer.alloc(BLOCK_BYTES / 2);
    this.inner.read(offset, mixed, 0, BLOCK_BYTES, () => {
      mixed.copy(half);
      mixed.set(from.subarray(at, at + lengthBytes));
      half.copy(mixed);
      this.inner.write(offset, mixed, 0, lengthBytes, done);
    });
  }
}

/** What a command says is changed before the unit sees it. */
function changing(inner: ScsiTarget, change: (command: ScsiCommand) => void): ScsiTarget {
  const begin = (command: ScsiCommand): void => {
    change(command);
    inner.begin(command);
  };
  return new Proxy(inner, {
    get: (target, key) => {
      if (key === 'begin') return begin;
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

const device =
  (Kind: new (inner: BlockDevice) => BlockDevice) =>
  (inner: BlockDevice): BlockDevice =>
    new Kind(inner);

/** Mistakes that the simulation must notice: a test that cannot fail proves nothing. */
const MISTAKES: Readonly<Record<string, WorldFault>> = {
  'a flush that lies': { device: device(LyingDevice) },
  'a flush answered early': { device: device(EarlyDevice) },
  'a failed flush forgiven': { device: device(ForgivingDevice) },
  'a write in the wrong place': { device: device(CrookedDevice) },
  'a torn block': { device: device(TearingDevice) },
  'FUA ignored': {
    target: (inner) =>
      changing(inner, (command) => {
        const opcode = command.cdb[0] ?? 0;
        if (opcode !== 0x2a && opcode !== 0x8a) return;
        command.cdb[1] = (command.cdb[1] ?? 0) & ~FUA;
      }),
  },
  'SYNCHRONIZE CACHE ignored': {
    target: (inner) =>
      changing(inner, (command) => {
        // TEST UNIT READY is GOOD as well.
        if (command.cdb[0] === 0x35 || command.cdb[0] === 0x91) command.cdb.fill(0);
      }),
  },
  'WCE = 0 ignored': {
    target: (inner) =>
      changing(inner, (command) => {
        if (command.cdb[0] === 0x15 && command.cdb[4] === 24) command.cdb.fill(0);
      }),
  },
};

suite('power cut: the oracle notices', () => {
  for (const [name, fault] of Object.entries(MISTAKES)) {
    test(name, async () => {
      await assert.rejects(
        forSeeds(firstSeeds(2_000), (seed) => live(seed, { fault })),
        /crash: lba|read: lba/,
      );
    });
  }

  test('a session that is not fenced', async () => {
    await assert.rejects(
      liveInThread(LIVES, 'unfenced', firstSeeds(10_000)),
      /crash: lba|read: lba/,
    );
  });
});
