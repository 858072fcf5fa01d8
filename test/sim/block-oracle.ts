import assert from 'node:assert/strict';
import { BLOCK_BYTES, ZERO, readStamp, stampText } from './stamp.ts';
import type { Stamp } from './stamp.ts';

/** Something that a block may hold. Times count the oracle's events; see `BlockOracle`. */
type Version = {
  readonly stamp: Stamp;
  readonly write: Write;
};

/** One write to some blocks, as the initiator knows it. */
export type Write = {
  readonly issued: number;
  /** When it was answered; later it can have no effect any more. Infinity: under way. */
  ended: number;
  /** Answered with GOOD. */
  good: boolean;
  /** Promised to survive the kind of crash that is coming. */
  durable: boolean;
  /** All blocks or none. */
  readonly atomic: boolean;
  readonly blocks: readonly number[];
};

/**
 * Knows what every block of a disk may hold, from what an initiator sent and was answered, and
 * nothing else. The rule, for a crash: a block may hold anything that was ever sent to it, but for
 * what was certainly overwritten by something durable. *Certainly overwritten*: the later write
 * was sent after the earlier one had been answered; writes under way at the same time may end in
 * either order. For a read the same with "answered GOOD before the read was sent" for "durable".
 *
 * The caller says what is durable: for kill -9 every write answered with GOOD, for a power cut
 * only what was flushed.
 */
export class BlockOracle {
  readonly blocks: number;
  readonly #versions: Version[][];
  readonly #unflushed = new Set<Write>();
  #reads = 0;
  #now = 1;

  /** A disk that holds what `content` says, zeros without; durable. */
  constructor(blocks: number, content?: Buffer) {
    this.blocks = blocks;
    const before = settled(0);
    this.#versions = Array.from({ length: blocks }, (_, lba) => {
      const stamp = content === undefined ? ZERO : readStamp(content, lba * BLOCK_BYTES);
      assert.ok(stamp !== null, `lba ${lba} has no stamp`);
      return [{ stamp, write: before }];
    });
  }

  /** An event: the time of something that is sent, before everything that is told later. */
  tick(): number {
    this.#now += 1;
    return this.#now;
  }

  /** A read is sent; `read` or `readFailed` must follow. */
  sendRead(): number {
    this.#reads += 1;
    return this.tick();
  }

  /** A write is sent: `stamps[i]` is to be in `lbas[i]`. */
  send(lbas: readonly number[], stamps: readonly Stamp[], atomic = false): Write {
    const write: Write = {
      issued: this.tick(),
      ended: Infinity,
      good: false,
      durable: false,
      atomic,
      blocks: lbas,
    };
    lbas.forEach((lba, i) => this.#versions[lba]?.push({ stamp: stamps[i] ?? ZERO, write }));
    this.#unflushed.add(write);
    return write;
  }

  /** It was answered GOOD; `durable`: and that promises that it is on stable media. */
  acknowledge(write: Write, durable: boolean): void {
    write.ended = this.tick();
    write.good = true;
    if (durable) this.#harden(write);
  }

  /** It was answered with an error: some of it may have been written. */
  fail(write: Write): void {
    write.ended = this.tick();
    this.#unflushed.delete(write);
  }

  /** It was answered so that nothing of it was written (a miscompare). */
  refuse(write: Write): void {
    this.fail(write);
    for (const lba of write.blocks) {
      this.#versions[lba] = this.#at(lba).filter((v) => v.write !== write);
    }
  }

  /** A flush that was sent at `sent` was answered GOOD: what was acknowledged before is durable. */
  flushed(sent: number, lbas?: readonly number[]): void {
    const within = lbas === undefined ? null : new Set(lbas);
    for (const write of this.#unflushed) {
      if (!write.good || write.ended > sent) continue;
      // A promise about some blocks says nothing of a write that reaches beyond them.
      if (within !== null && !write.blocks.every((lba) => within.has(lba))) continue;
      this.#harden(write);
    }
  }

  /** What a block holds if all went well and nothing is under way; null: cannot be told. */
  certain(lba: number): Stamp | null {
    const possible = this.#at(lba).filter(
      (v) => !this.#overwritten(lba, v, (w) => w.good && w.ended < Infinity),
    );
    return possible.length === 1 && possible[0]?.write.good === true ? possible[0].stamp : null;
  }

  /** A read of `bytes` from `lba` on, sent at `sent`, was answered GOOD. Throws what is wrong. */
  read(lba: number, bytes: Buffer, sent: number): void {
    for (let i = 0; i * BLOCK_BYTES < bytes.length; i++) {
      this.#judge(lba + i, bytes, i * BLOCK_BYTES, (w) => w.good && w.ended < sent, 'read');
    }
    this.readFailed();
  }

  /** A read was answered with an error. */
  readFailed(): void {
    this.#reads -= 1;
  }

  /** The whole disk was replaced while nothing was under way, and that is durable. */
  replaced(content: Buffer): void {
    const sent = this.tick();
    for (let lba = 0; lba < this.blocks; lba++) {
      const stamp = readStamp(content, lba * BLOCK_BYTES);
      assert.ok(stamp !== null, `lba ${lba} has no stamp`);
      const write = { ...settled(sent), blocks: [lba] };
      this.#versions[lba] = [{ stamp, write }];
    }
    this.#unflushed.clear();
  }

  /**
   * The disk after the death of the process, all of it: every GOOD was a promise, flushed or not.
   * Throws what is lost, torn or foreign. What was not flushed can still be lost with the power.
   */
  died(content: Buffer): void {
    const found: Version[] = [];
    for (let lba = 0; lba < this.blocks; lba++) {
      found.push(this.#judge(lba, content, lba * BLOCK_BYTES, (w) => w.good, 'death'));
    }
    this.#judgeAtomic(found);
    for (const write of this.#unflushed) if (write.ended === Infinity) this.fail(write);
    this.#reads = 0;
  }

  /**
   * The disk after a crash, all of it. Throws what is lost, torn or foreign; from then on every
   * block holds what was found.
   */
  crashed(content: Buffer): void {
    const found: Version[] = [];
    for (let lba = 0; lba < this.blocks; lba++) {
      found.push(this.#judge(lba, content, lba * BLOCK_BYTES, (w) => w.durable, 'crash'));
    }
    this.#judgeAtomic(found);
    const before = settled(0);
    this.#unflushed.clear();
    this.#reads = 0;
    for (let lba = 0; lba < this.blocks; lba++) {
      this.#versions[lba] = [{ stamp: found[lba]!.stamp, write: before }];
    }
  }

  #at(lba: number): Version[] {
    return this.#versions[lba] ?? [];
  }

  #judge(
    lba: number,
    bytes: Buffer,
    at: number,
    holds: (write: Write) => boolean,
    when: string,
  ): Version {
    const stamp = readStamp(bytes, at);
    const same = this.#at(lba).filter(
      (v) => v.stamp.generation === stamp?.generation && v.stamp.tag === stamp.tag,
    );
    const version = same.findLast((v) => !this.#overwritten(lba, v, holds));
    if (version !== undefined) return version;
    const why = same.length > 0 ? 'which was overwritten' : 'which was never sent';
    const known = this.#at(lba).map((v) => `${stampText(v.stamp)} ${stateText(v.write)}`);
    return assert.fail(
      `${when}: lba ${lba} has ${stampText(stamp)}, ${why}; known: ${known.join(', ')}`,
    );
  }

  #overwritten(lba: number, version: Version, holds: (write: Write) => boolean): boolean {
    return this.#at(lba).some((v) => v.write.issued > version.write.ended && holds(v.write));
  }

  /** A write is durable; forgets what can never be seen again. */
  #harden(durable: Write): void {
    durable.durable = true;
    this.#unflushed.delete(durable);
    // A read under way may still bring what was overwritten meanwhile.
    if (this.#reads > 0) return;
    for (const lba of durable.blocks) {
      this.#versions[lba] = this.#at(lba).filter((v) => v.write.ended >= durable.issued);
    }
  }

  /** An atomic write that is seen in one block is seen in all, but where it was overwritten. */
  #judgeAtomic(found: readonly Version[]): void {
    for (const write of new Set(found.map((v) => v.write))) {
      if (!write.atomic) continue;
      for (const lba of write.blocks) {
        const other = found[lba]!;
        assert.ok(
          other.write === write || other.write.ended > write.issued,
          `an atomic write to ${write.blocks.join()} is torn: lba ${lba} has ${stampText(other.stamp)}`,
        );
      }
    }
  }
}

function stateText(write: Write): string {
  return write.durable ? 'durable' : write.good ? 'good' : 'unanswered';
}

/** Something that was there already, at a time. */
function settled(at: number): Write {
  return { issued: at, ended: at, good: true, durable: true, atomic: false, blocks: [] };
}
