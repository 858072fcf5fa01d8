import assert from 'node:assert/strict';
import { BlockError, openQcow2On } from '#block/mod.ts';
import type { BlockDone, Qcow2Device } from '#block/mod.ts';
import { BlockOracle } from './block-oracle.ts';
import { Driver, settle } from './power-cut.ts';
import { BLOCKS } from './qcow2-images.ts';
import type { Blank } from './qcow2-images.ts';
import type { Random } from './random.ts';
import { SimFile } from './sim-file.ts';
import type { FileFaults } from './sim-file.ts';
import { BLOCK_BYTES, readStamp, stampText } from './stamp.ts';
import { Workload } from './workload.ts';
import { unitWorld } from './world.ts';

/** A snapshot that should be there; `sure` is false while its making or deleting is under way. */
type Kept = {
  readonly id: string;
  readonly content: Buffer;
  readonly sizeBytes: number;
  sure: boolean;
};

/** What a crash left, and how. */
export type Crashed = { readonly file: SimFile; readonly bytes: Buffer };

/** Steps that an operation may take before the simulation calls it stuck. */
const STUCK_STEPS = 20_000;

/**
 * The life of one qcow2 image over a simulated file: opened, used through the real logical unit,
 * cut by the death of the process or by the loss of power, opened again. What must hold is the
 * oracle's for the disk; the same for every snapshot; and the image's own consistency, which the
 * caller checks on the bytes.
 */
export class Qcow2Life {
  readonly #random: Random;
  readonly #blank: Blank;
  readonly #faults: FileFaults;
  #file: SimFile;
  #oracle: BlockOracle;
  #snapshots: Kept[] = [];
  /** How large the disk may be: one answer, or two when growing was cut. */
  #sizes: readonly number[] = [BLOCKS * BLOCK_BYTES];
  /** What the disk may be instead, all of it: a snapshot is being applied. */
  #instead: Buffer | null = null;
  /** Since the disk was last looked at, perhaps in one of several crashes. */
  #powerLost = false;
  /** The same for a snapshot verb that did not come to its end. */
  #verbCut = false;
  /** A snapshot whose making was cut: it has an ID that nobody was told. */
  #pending: {
    readonly known: ReadonlySet<string>;
    readonly content: Buffer;
    readonly sizeBytes: number;
  } | null = null;
  #generation = 1;
  #names = 0;

  constructor(random: Random, blank: Blank, faults: FileFaults = {}) {
    this.#random = random;
    this.#blank = blank;
    this.#faults = faults;
    this.#file = new SimFile(blank.image, random, 1, this.#always);
    this.#oracle = new BlockOracle(BLOCKS, blank.content);
  }

  /** One opening, use and crash. Throws what is wrong. */
  async live(): Promise<void> {
    const opened = await this.#open(this.#random.chance(0.85) ? Infinity : this.#random.below(12));
    if (opened !== null) await this.#use(opened);
    this.#crash();
  }

  /**
   * The file as the death of the process left it: sound as it is. Null after a loss of power or
   * within a snapshot verb, where the next opening has something to mend.
   */
  afterDeath(): Buffer | null {
    return this.#powerLost || this.#verbCut ? null : this.#file.content.bytes();
  }

  /** The last opening: everything is looked at, and the image is closed. Returns its bytes. */
  async end(): Promise<Buffer> {
    const device = await this.#open(Infinity);
    assert.ok(device !== null);
    for (const kept of this.#snapshots) await this.#look(kept);
    const closing = new Promise<void>((resolve, reject) => {
      device.close((error) => (error === null ? resolve() : reject(error)));
    });
    await this.#must(closing, this.#file);
    return this.#file.content.bytes();
  }

  /** Opens the image; null when it crashed before that came to its end. */
  async #open(steps: number): Promise<Qcow2Device | null> {
    const device = await this.#attempt(this.#file, steps);
    if (device === null) return null;
    const { sizeBytes } = device;
    assert.ok(this.#sizes.includes(sizeBytes), `${sizeBytes} bytes, not ${this.#sizes.join()}`);
    this.#sizes = [sizeBytes];
    const content = await this.#readAll(device, this.#file);
    if (this.#instead?.equals(content) === true) {
      this.#oracle = new BlockOracle(BLOCKS, content);
    } else if (this.#powerLost) {
      this.#oracle.crashed(content);
    } else {
      this.#oracle.died(content);
    }
    this.#powerLost = false;
    this.#instead = null;
    this.#judgeSnapshots(device);
    for (const kept of this.#snapshots) if (this.#random.chance(0.2)) await this.#look(kept);
    return device;
  }

  async #attempt(file: SimFile, steps: number): Promise<Qcow2Device | null> {
    const { backing } = this.#blank;
    const opening = openQcow2On(file, 'simulated', backing === null ? {} : { backing });
    return steps === Infinity ? this.#must(opening, file) : settle(opening, file, steps);
  }

  async #must<T>(promise: Promise<T>, file: SimFile): Promise<T> {
    const result = await settle(
      promise.then((value) => ({ value })),
      file,
      STUCK_STEPS,
    );
    assert.ok(result !== null, 'an operation never ends');
    return result.value;
  }

  async #use(device: Qcow2Device): Promise<void> {
    const random = this.#random;
    const clients = unitWorld(device, random, {});
    const workload = this.#workload(this.#faulty);
    const driver = new Driver(random, clients, workload, this.#file);
    this.#file.faults = this.#faults;
    for (let phase = random.below(3); phase >= 0; phase--) {
      await driver.run(random.below(80));
      this.#generation = workload.generation;
      if (phase === 0 || !this.#blank.snapshots) continue;
      if (!(await driver.drain(STUCK_STEPS))) assert.fail('commands are never answered');
      if (await this.#snapshotVerb(device)) continue;
      this.#verbCut = true;
      driver.stop();
      return;
    }
    if (this.#faults.noSpace !== undefined && (await driver.drain(STUCK_STEPS))) {
      // Space appears: everything goes on (hostile case 37).
      this.#file.faults = this.#always;
      const again = this.#workload(false);
      const rest = new Driver(random, clients, again, this.#file);
      await rest.run(40);
      rest.stop();
      this.#generation = again.generation;
    }
    driver.stop();
  }

  get #faulty(): boolean {
    return this.#faults.noSpace !== undefined || this.#faults.syncFails !== undefined;
  }

  #workload(mayFail: boolean): Workload {
    return new Workload(
      {
        oracle: this.#oracle,
        random: this.#random,
        blocksMax: 24,
        writeCache: true,
        modeSelect: true,
        discards: this.#blank.discards,
        mayFail,
        crash: 'power',
      },
      this.#generation,
    );
  }

  /** A disk can lie at any time; its other faults are there in use only. */
  get #always(): FileFaults {
    return { syncLies: this.#faults.syncLies ?? false };
  }

  /** Makes, applies or deletes a snapshot; false: it crashes within. */
  async #snapshotVerb(device: Qcow2Device): Promise<boolean> {
    const random = this.#random;
    const steps = random.chance(0.6) ? STUCK_STEPS : random.below(40);
    const sent = this.#oracle.tick();
    try {
      if (random.chance(0.2)) return await this.#grow(device, steps, sent);
      if (this.#snapshots.length === 0 || random.chance(0.5)) {
        return await this.#make(device, steps, sent);
      }
      const chosen = random.pick(this.#snapshots);
      if (random.chance(0.5)) return await this.#delete(device, chosen, steps, sent);
      return await this.#apply(device, chosen, steps);
    } catch (e) {
      // It failed half-way on a faulty disk; the next opening shows one or the other.
      if (e instanceof BlockError && this.#faulty) return false;
      throw e;
    }
  }

  async #make(device: Qcow2Device, steps: number, sent: number): Promise<boolean> {
    const content = await this.#readAll(device, this.#file);
    this.#names += 1;
    const known = new Set(device.snapshots().map((s) => s.id));
    const making = device.createSnapshot(`snapshot ${this.#names}`).then((s) => s.id);
    const { sizeBytes } = device;
    this.#pending = { known, content, sizeBytes };
    const id = await settle(making, this.#file, steps);
    if (id === null) return false;
    this.#pending = null;
    this.#snapshots.push({ id, content, sizeBytes, sure: true });
    this.#oracle.flushed(sent);
    return true;
  }

  async #grow(device: Qcow2Device, steps: number, sent: number): Promise<boolean> {
    const sizeBytes = device.sizeBytes + BLOCK_BYTES * (1 + this.#random.below(200));
    this.#sizes = [device.sizeBytes, sizeBytes];
    const growing = new Promise<true>((resolve, reject) => {
      device.grow(sizeBytes, (error) => (error === null ? resolve(true) : reject(error)));
    });
    if ((await settle(growing, this.#file, steps)) === null) return false;
    this.#sizes = [sizeBytes];
    this.#oracle.flushed(sent);
    return true;
  }

  async #delete(device: Qcow2Device, kept: Kept, steps: number, sent: number): Promise<boolean> {
    kept.sure = false;
    const deleting = device.deleteSnapshot(kept.id).then(() => true);
    if ((await settle(deleting, this.#file, steps)) === null) return false;
    this.#snapshots = this.#snapshots.filter((k) => k !== kept);
    this.#oracle.flushed(sent);
    return true;
  }

  async #apply(device: Qcow2Device, kept: Kept, steps: number): Promise<boolean> {
    this.#instead = kept.content;
    this.#sizes = [device.sizeBytes, kept.sizeBytes];
    const applying = device.applySnapshot(kept.id).then(() => true);
    if ((await settle(applying, this.#file, steps)) === null) return false;
    this.#instead = null;
    this.#sizes = [kept.sizeBytes];
    assert.equal(device.sizeBytes, kept.sizeBytes);
    assert.ok((await this.#readAll(device, this.#file)).equals(kept.content), 'applied');
    this.#oracle.replaced(kept.content);
    return true;
  }

  /** The snapshots that the image has must be those that it should have. */
  #judgeSnapshots(device: Qcow2Device): void {
    const there = new Set(device.snapshots().map((s) => s.id));
    const pending = this.#pending;
    this.#pending = null;
    this.#snapshots = this.#snapshots.filter((kept) => {
      assert.ok(there.has(kept.id) || !kept.sure, `snapshot ${kept.id} is lost`);
      kept.sure = true;
      return there.delete(kept.id);
    });
    for (const id of there) {
      const made = pending !== null && !pending.known.has(id);
      assert.ok(made, `snapshot ${id} should not be there`);
      const { content, sizeBytes } = pending;
      this.#snapshots.push({ id, content, sizeBytes, sure: true });
    }
  }

  /** What a snapshot holds, seen on a copy of the image. */
  async #look(kept: Kept): Promise<void> {
    const copy = new SimFile(this.#file.content, this.#random, this.#file.boot);
    const device = await this.#attempt(copy, Infinity);
    assert.ok(device !== null);
    await this.#must(device.applySnapshot(kept.id), copy);
    const content = await this.#readAll(device, copy);
    const lba = firstDifference(content, kept.content);
    if (lba === null) return;
    const [now, then] = [content, kept.content].map((c) => readStamp(c, lba * BLOCK_BYTES));
    const what = `${stampText(now ?? null)} instead of ${stampText(then ?? null)}`;
    assert.fail(`snapshot ${kept.id}: lba ${lba} has ${what}`);
  }

  async #readAll(device: Qcow2Device, file: SimFile): Promise<Buffer> {
    const content = Buffer.alloc(BLOCKS * BLOCK_BYTES);
    const reading = new Promise<void>((resolve, reject) => {
      const done: BlockDone = (error) => (error === null ? resolve() : reject(error));
      device.read(0, content, 0, content.length, done);
    });
    await this.#must(reading, file);
    return content;
  }

  /** The power or the process goes; the next opening finds a disk without faults. */
  #crash(): void {
    this.#file.faults = this.#always;
    if (this.#random.chance(0.5) && !this.#file.lost) {
      this.#file = this.#file.death();
    } else {
      this.#powerLost = true;
      this.#file = this.#file.powerCut();
    }
  }
}

/** The first block in which two disks differ. */
function firstDifference(a: Buffer, b: Buffer): number | null {
  for (let at = 0; at < a.length; at += BLOCK_BYTES) {
    const end = at + BLOCK_BYTES;
    if (a.compare(b, at, end, at, end) !== 0) return at / BLOCK_BYTES;
  }
  return null;
}
