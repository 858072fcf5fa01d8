import { BlockOracle } from './block-oracle.ts';
import { Driver } from './power-cut.ts';
import { Random } from './random.ts';
import { SimDevice } from './sim-device.ts';
import { BLOCK_BYTES } from './stamp.ts';
import { Workload } from './workload.ts';
import type { LifeMaker } from './worker.ts';
import { sessionWorld, unitWorld } from './world.ts';
import type { WorldFault } from './world.ts';

const BLOCKS = 48;
const CUTS_PER_SEED = 2;

/** What is special about a life. */
export type Life = { readonly fault?: WorldFault; readonly sessions?: 'fenced' | 'unfenced' };

/** One disk's life: some cuts in a row, each on what the one before left. Throws what is wrong. */
export async function live(seed: number, life: Life = {}): Promise<void> {
  const random = new Random(seed);
  const oracle = new BlockOracle(BLOCKS);
  const flushFails = random.chance(0.15) ? 0.2 : 0;
  let medium: Buffer = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  let generation = 0;
  for (let cut = 0; cut < CUTS_PER_SEED; cut++) {
    const disk = new SimDevice(medium, random, { flushFails });
    const writeCache = random.chance(0.8);
    const cache = writeCache ? 'writeback' : 'writethrough';
    const clients =
      life.sessions === undefined
        ? unitWorld(disk, random, { cache }, life.fault)
        : await sessionWorld(disk, random, { cache }, life.sessions === 'fenced');
    const workload = new Workload(
      {
        oracle,
        random,
        blocksMax: 12,
        writeCache,
        modeSelect: true,
        mayFail: flushFails > 0,
        crash: 'power',
      },
      generation,
    );
    const driver = new Driver(random, clients, workload, disk);
    await driver.run(5 + random.below(60));
    driver.stop();
    medium = disk.powerCut();
    oracle.crashed(medium);
    generation = workload.generation;
  }
}

/** By the logical unit alone. */
export const unit: LifeMaker = () => Promise.resolve((seed: number) => live(seed));
/** Through iSCSI sessions. */
export const sessions: LifeMaker = () =>
  Promise.resolve((seed: number) => live(seed, { sessions: 'fenced' }));
/** Through sessions whose commands count as over before they are: this must be noticed. */
export const unfenced: LifeMaker = () =>
  Promise.resolve((seed: number) => live(seed, { sessions: 'unfenced' }));
