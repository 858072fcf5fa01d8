import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RawSource } from '#block/mod.ts';
import { Running } from '../lab/process.ts';
import { BlockOracle } from '../sim/block-oracle.ts';
import { Random } from '../sim/random.ts';
import { BLOCK_BYTES } from '../sim/stamp.ts';
import { Workload } from '../sim/workload.ts';
import { Killer } from './killer.ts';
import { TARGET_IQN } from './target.ts';
import type { TargetDisk } from './target.ts';
import { WireInitiator } from './wire-initiator.ts';

const BLOCKS = 1024;
/** Up to 32 KiB: more than goes with a command, and a copy that takes long enough to be hit. */
const BLOCKS_MAX = 64;
/** Commands that each initiator has under way on each disk. */
const DEPTH = 4;
const INITIATORS = ['one', 'two'];
/** How far into the load the target dies, at most: commands answered, and a time after that. */
const ANSWERS = [1, 10, 50, 200];
const AFTER_MS = 4;
/** A start takes some 130 ms; kills in it hit the opening of images and the redo of logs. */
const START_MS = 160;
const START_SHARE = 0.05;

/** One disk that outlives its targets, with what is known about it. */
export type Disk = TargetDisk & {
  readonly source: RawSource;
  readonly oracle: BlockOracle;
  generation: number;
  /** What it holds can only be told after a target has opened it. */
  readonly needsOpening: boolean;
};

/** Kills that hit a target under load, and kills while it started. */
export type Tally = { underLoad: number; starting: number; acknowledged: number };

/** Makes the disks of one lane in a folder. */
export function makeDisks(folder: string): Disk[] {
  const disk = (
    name: string,
    more: Partial<Omit<TargetDisk, 'source'>>,
    needsOpening = false,
  ): Disk => {
    const path = join(folder, name);
    writeFileSync(path, '');
    truncateSync(path, BLOCKS * BLOCK_BYTES);
    const oracle = new BlockOracle(BLOCKS);
    const source = { kind: 'raw', path } as const;
    return { source, cache: 'writeback', ...more, oracle, generation: 0, needsOpening };
  };
  return [
    disk('writeback.raw', {}),
    disk('writethrough.raw', { cache: 'writethrough' }),
    disk('atomic.raw', { log: join(folder, 'atomic.log') }, true),
  ];
}

/**
 * A target that is started, loaded and killed again and again, always on the same disks. What the
 * initiators know is kept here, in another process than the one that dies.
 */
export class Lane {
  readonly tally: Tally = { underLoad: 0, starting: 0, acknowledged: 0 };
  readonly #disks: readonly Disk[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #killer = new Killer();

  constructor(disks: readonly Disk[], env: NodeJS.ProcessEnv) {
    this.#disks = disks;
    this.#env = env;
  }

  async close(): Promise<void> {
    await this.#killer.close();
  }

  /** One life of a target: start, load, kill, verdict. */
  async round(seed: number): Promise<void> {
    const random = new Random(seed);
    const target = this.#spawn();
    try {
      if (random.chance(START_SHARE)) {
        this.#killer.kill(target.pid, random.below(START_MS * 1000) / 1000);
        assert.equal((await target.finished()).signal, 'SIGKILL', target.output);
        this.tally.starting += 1;
      } else {
        await this.#load(target, random);
        this.tally.underLoad += 1;
      }
      for (const disk of this.#disks) if (!disk.needsOpening) judge(disk);
    } finally {
      await target.stop('SIGKILL');
    }
  }

  /** A last target that nobody kills: all disks, as its initiators read them. */
  async end(): Promise<void> {
    const target = this.#spawn();
    try {
      const port = Number((await target.waitFor(/ready (\d+)\n/))[1]);
      const luns = this.#disks.length;
      const initiator = await WireInitiator.login(port, TARGET_IQN, 'last', luns);
      for (const [lun, disk] of this.#disks.entries()) {
        disk.oracle.crashed(await initiator.readAll(lun, BLOCKS));
      }
      initiator.destroy();
    } finally {
      await target.stop('SIGTERM');
    }
  }

  #spawn(): Running {
    const disks = this.#disks.map(({ source, cache, log }) => ({ source, cache, log }));
    const program = new URL('target.ts', import.meta.url).pathname;
    const args = [program, JSON.stringify({ disks })];
    return new Running(process.execPath, args, { env: this.#env });
  }

  async #load(target: Running, random: Random): Promise<void> {
    const [, port] = await target.waitFor(/ready (\d+)\n/);
    for (const disk of this.#disks) if (disk.needsOpening) judge(disk);
    const initiators = await Promise.all(
      INITIATORS.map((n) => WireInitiator.login(Number(port), TARGET_IQN, n, this.#disks.length)),
    );
    const workloads = this.#disks.map(
      (disk) =>
        new Workload(
          {
            oracle: disk.oracle,
            random,
            blocksMax: BLOCKS_MAX,
            writeCache: disk.cache === 'writeback',
            atomic: disk.log === undefined ? 0 : 6,
            crash: 'process',
          },
          disk.generation,
        ),
    );
    const killAfter = random.below(random.pick(ANSWERS));
    const afterMs = (AFTER_MS * random.below(1000)) / 1000;
    let answers = 0;
    const keepBusy = (initiator: WireInitiator, lun: number, workload: Workload): void => {
      initiator.start(lun, workload.next(), () => {
        if (answers === killAfter) this.#killer.kill(target.pid, afterMs);
        answers += 1;
        keepBusy(initiator, lun, workload);
      });
    };
    for (const initiator of initiators) {
      initiator.failed = () => {
        this.#killer.kill(target.pid, 0);
      };
    }
    for (let i = 0; i < DEPTH; i++) {
      for (const initiator of initiators) {
        for (const [lun, workload] of workloads.entries()) keepBusy(initiator, lun, workload);
      }
    }
    const { signal } = await target.finished();
    await Promise.all(initiators.map((i) => i.gone()));
    assert.equal(signal, 'SIGKILL', target.output);
    this.tally.acknowledged += answers;
    workloads.forEach((workload, lun) => {
      const disk = this.#disks[lun];
      if (disk !== undefined) disk.generation = workload.generation;
    });
    for (const { failure, underWay } of initiators) {
      if (failure !== null) throw failure;
      assert.ok(underWay > 0, 'the kill hit no load');
    }
  }
}

function judge(disk: Disk): void {
  const content = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  const fd = openSync(disk.source.path, 'r');
  try {
    assert.equal(readSync(fd, content, 0, content.length, 0), content.length);
  } finally {
    closeSync(fd);
  }
  try {
    disk.oracle.crashed(content);
  } catch (cause) {
    throw new Error(`${disk.source.path}: ${String(cause)}`, { cause });
  }
}
