import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { TestContext } from 'node:test';
import { AtomicLogFile } from '#block/mod.ts';
import type { AtomicLog, BlockDone } from '#block/mod.ts';
import { BlockOracle } from './block-oracle.ts';
import { Content } from './content.ts';
import { Driver, settle } from './power-cut.ts';
import type { Stepped } from './power-cut.ts';
import { firstSeeds, forSeeds, Random, seeds } from './random.ts';
import { SimDevice } from './sim-device.ts';
import { SimFile } from './sim-file.ts';
import { BLOCK_BYTES } from './stamp.ts';
import { Workload } from './workload.ts';
import { unitWorld } from './world.ts';

/**
 * WRITE ATOMIC at power cuts and deaths (durability contract 7): the real `AtomicLogFile`, whose
 * file is simulated below the calls that it makes, beside a disk with a volatile cache. Its redo is
 * cut as well.
 */
const BLOCKS = 48;

type Handle = Pick<FileHandle, 'write' | 'datasync' | 'truncate' | 'readFile' | 'sync'>;

/** Simulated files below all `FileHandle`s of a test. */
class Handles {
  /** Where calls go. */
  file: SimFile;
  readonly path: string;
  readonly #open = new Set<FileHandle>();

  private constructor(path: string) {
    this.path = path;
    this.file = new SimFile(new Content(), new Random(0), 0);
  }

  static async simulate(t: TestContext): Promise<Handles> {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-sim-'));
    t.after(() => rm(folder, { recursive: true }));
    const handles = new Handles(join(folder, 'atomic.log'));
    const probe = await open(handles.path, 'w');
    handles.#mock(t, Object.getPrototypeOf(probe) as Handle);
    await probe.close();
    return handles;
  }

  /** Closes what a simulated crash left open. */
  async sweep(): Promise<void> {
    for (const handle of this.#open) await handle.close();
    this.#open.clear();
  }

  #mock(t: TestContext, methods: Handle): void {
    const call = (start: (file: SimFile, done: BlockDone) => void): Promise<void> =>
      new Promise((resolve, reject) => {
        start(this.file, (error) => (error === null ? resolve() : reject(error)));
      });
    t.mock.method(
      methods,
      'write',
      async (bytes: Buffer, at: number, length: number, to: number) => {
        await call((file, done) => {
          file.write(to, bytes, at, length, done);
        });
        return { bytesWritten: length, buffer: bytes };
      },
    );
    t.mock.method(methods, 'truncate', (length: number) =>
      call((file, done) => {
        file.truncate(length, done);
      }),
    );
    t.mock.method(methods, 'datasync', () =>
      call((file, done) => {
        file.sync(done);
      }),
    );
    // Of the folder, whose own loss is not simulated.
    t.mock.method(methods, 'sync', () => Promise.resolve());
    const opened = (handle: FileHandle): Promise<Buffer> => {
      this.#open.add(handle);
      return Promise.resolve(this.file.content.bytes());
    };
    t.mock.method(methods, 'readFile', function readFile(this: FileHandle) {
      return opened(this);
    });
  }
}

/** A disk and the file of its log, stepped together. */
function both(disk: SimDevice, file: SimFile, random: Random): Stepped {
  return {
    get underWay() {
      return disk.underWay + file.underWay;
    },
    step() {
      if (random.below(disk.underWay + file.underWay) < disk.underWay) disk.step();
      else file.step();
    },
  };
}

type Opener = (path: string, disk: SimDevice) => Promise<AtomicLog>;

async function live(seed: number, handles: Handles, opener: Opener): Promise<void> {
  const random = new Random(seed);
  const oracle = new BlockOracle(BLOCKS);
  let medium: Buffer = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  let file = new SimFile(new Content(), random, 0);
  let generation = 0;
  for (let cut = 0; cut < 4; cut++) {
    const disk = new SimDevice(medium, random);
    const stepped = both(disk, file, random);
    handles.file = file;
    const last = cut === 3;
    const opening = opener(handles.path, disk);
    const steps = last || random.chance(0.8) ? Infinity : random.below(4);
    const log = await settle(opening, stepped, steps);
    if (log !== null) {
      oracle.crashed(disk.content());
      if (last) break;
      const clients = unitWorld(disk, random, { atomicLog: log });
      const options = { oracle, random, blocksMax: 8, writeCache: true, atomic: 20 } as const;
      const workload = new Workload({ ...options, crash: 'power' }, generation);
      const driver = new Driver(random, clients, workload, stepped);
      await driver.run(5 + random.below(50));
      driver.stop();
      generation = workload.generation;
    }
    medium = disk.powerCut();
    file = file.powerCut();
    await handles.sweep();
  }
  await handles.sweep();
}

suite('atomic writes at power cuts', () => {
  test('are there or are not', async (t) => {
    const handles = await Handles.simulate(t);
    await forSeeds(seeds(600, 20_000), (seed) =>
      live(seed, handles, (path, disk) => AtomicLogFile.open(path, disk)),
    );
  });

  test('the oracle notices a log that does not log', async (t) => {
    const handles = await Handles.simulate(t);
    const plain: AtomicLog = {
      bytesMax: 1024 * 1024,
      write: (device, offsetBytes, data) =>
        new Promise((resolve, reject) => {
          device.write(offsetBytes, data, 0, data.length, () => {
            device.flush((error) => (error === null ? resolve() : reject(error)));
          });
        }),
    };
    await assert.rejects(
      forSeeds(firstSeeds(1_000), (seed) => live(seed, handles, () => Promise.resolve(plain))),
      /torn/,
    );
  });
});
