import assert from 'node:assert/strict';
import { Running } from '../lab/process.ts';
import { Random } from '../sim/random.ts';
import { Workload } from '../sim/workload.ts';
import { BLOCKS } from './kill-disk.ts';
import type { KillDisk } from './kill-disk.ts';
import { Killer } from './killer.ts';
import type { TargetDisk } from './target.ts';
import { WireInitiator } from './wire-initiator.ts';

/** Up to 32 KiB: more than goes with a command, and a copy that takes long enough to be hit. */
const BLOCKS_MAX = 64;
/** Commands that each initiator has under way on each disk. */
const DEPTH = 3;
const INITIATORS = ['one', 'two'];
/** How far into the load the target dies, at most: commands answered, and a time after that. */
const ANSWERS = [1, 10, 50, 200];
const AFTER_MS = 4;
/** A start takes some 130 ms; kills in it hit the opening of images and the redo of logs. */
const START_MS = 160;
const START_SHARE = 0.05;

/** Kills that hit a target under load, and kills while it started. */
export type Tally = { underLoad: number; starting: number; acknowledged: number };

/** The program that dies. */
export type Program = {
  readonly args: (disks: readonly TargetDisk[]) => readonly string[];
  /** The line that says it is ready; groups `port` and `iqn`. */
  readonly ready: RegExp;
};

/** The least that serves disks, for many kills. */
export const LEAN: Program = {
  args: (disks) => [new URL('target.ts', import.meta.url).pathname, JSON.stringify({ disks })],
  ready: /^ready (?<port>\d+) (?<iqn>\S+)\n/,
};

/**
 * A target that is started, loaded and killed again and again, always on the same disks. What the
 * initiators know is kept here, in another process than the one that dies.
 */
export class Lane {
  readonly tally: Tally = { underLoad: 0, starting: 0, acknowledged: 0 };
  readonly #program: Program;
  readonly #disks: readonly KillDisk[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #killer = new Killer();

  constructor(disks: readonly KillDisk[], env: NodeJS.ProcessEnv, program = LEAN) {
    this.#program = program;
    this.#disks = disks;
    this.#env = env;
  }

  async close(): Promise<void> {
    await this.#killer.close();
  }

  /** A first target that nobody kills. */
  async begin(): Promise<void> {
    for (const disk of this.#disks) await disk.prepare(new Random(0));
    await this.end();
  }

  /** One life of a target: start, load, kill, verdict. */
  async round(seed: number): Promise<void> {
    const random = new Random(seed);
    for (const disk of this.#disks) await disk.prepare(random);
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
      for (const disk of this.#disks) await disk.killed();
    } finally {
      await target.stop('SIGKILL');
    }
  }

  /** A last target that nobody kills: all disks, as its initiators read them. */
  async end(): Promise<void> {
    const target = this.#spawn();
    try {
      const [initiator] = await this.#logIn(target);
      assert.ok(initiator !== undefined);
      await this.#readAll(initiator);
    } finally {
      await target.stop('SIGTERM');
    }
  }

  #spawn(): Running {
    const args = this.#program.args(this.#disks.map((disk) => disk.target));
    return new Running(process.execPath, args, { env: this.#env });
  }

  async #logIn(target: Running): Promise<WireInitiator[]> {
    const { port = '', iqn = '' } = (await target.waitFor(this.#program.ready)).groups ?? {};
    const luns = this.#disks.length;
    return Promise.all(INITIATORS.map((n) => WireInitiator.login(Number(port), iqn, n, luns)));
  }

  /** What the target that was killed before has left behind, as the next one shows it. */
  async #readAll(initiator: WireInitiator): Promise<void> {
    for (const [lun, disk] of this.#disks.entries()) {
      disk.opened(await initiator.readAll(lun, BLOCKS));
    }
  }

  async #load(target: Running, random: Random): Promise<void> {
    const initiators = await this.#logIn(target);
    await this.#readAll(initiators[0]!);
    const workloads = this.#disks.map(
      (disk) =>
        new Workload(
          {
            oracle: disk.oracle,
            random,
            blocksMax: BLOCKS_MAX,
            writeCache: disk.target.cache === 'writeback',
            atomic: disk.target.log === undefined ? 0 : 6,
            discards: disk.discards,
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
