import assert from 'node:assert/strict';
import type { BlockOracle, Write } from './block-oracle.ts';
import { FUA, cdb10, cdb16, selectWriteCache, unmap } from './cdb.ts';
import type { Random } from './random.ts';
import { BLOCK_BYTES, SAME_TAG, ZERO, writeStamp } from './stamp.ts';
import type { Stamp } from './stamp.ts';

/** How a command was answered. */
export type Answer = { readonly status: number; readonly sense: string; readonly data: Buffer };

/** One command to send; `ended` or `lost` must be called once, or neither. */
export type Operation = {
  readonly name: string;
  readonly cdb: Buffer;
  readonly out: Buffer | null;
  readonly inBytes: number;
  readonly ended: (answer: Answer) => void;
  /** It will never be answered, and from now on nothing of it can happen any more. */
  readonly lost: () => void;
};

/** What a workload may use of a disk. */
export type WorkloadOptions = {
  readonly oracle: BlockOracle;
  readonly random: Random;
  /** Longest transfer. */
  readonly blocksMax: number;
  /** Write cache enabled when the unit was made. */
  readonly writeCache: boolean;
  /** The unit is thin: UNMAP, also of WRITE SAME. True when left out. */
  readonly discards?: boolean;
  /** Switches the write cache now and then. */
  readonly modeSelect?: boolean;
  /** WRITE ATOMIC is offered, and has this weight among the commands (a WRITE has 12). */
  readonly atomic?: number;
  /** Errors other than a miscompare are no failure of the test (faults are injected). */
  readonly mayFail?: boolean;
  /** For kill -9: every GOOD is a promise. For a power cut only what was flushed is. */
  readonly crash: 'process' | 'power';
};

const COMPARE_BLOCKS_MAX = 16;

type Range = { readonly lba: number; readonly blocks: number };

/** Every command that changes blocks or promises something about them, and how often it comes. */
const MIX = [
  ['write', 12],
  ['writeFua', 4],
  ['writeVerify', 2],
  ['writeSame', 2],
  ['zeroSame', 1],
  ['compareWrite', 3],
  ['orWrite', 1],
  ['sync', 3],
  ['read', 4],
  ['readFua', 1],
] as const;
type Kind = (typeof MIX)[number][0] | 'unmap' | 'atomic' | 'modeSelect';

/**
 * Random commands for one disk, and what their answers promise, told to the oracle. Commands may
 * run at the same time and overlap; what that leaves open the oracle allows.
 */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #random: Random;
  readonly #oracle: BlockOracle;
  readonly #kinds: readonly Kind[];
  #generation: number;
  /** null: a switch is under way, so it is not known. */
  #writeCache: boolean | null;

  /** `generation`: the last one in use on the disk; no two writes may have the same. */
  constructor(options: WorkloadOptions, generation = 0) {
    this.#options = options;
    this.#random = options.random;
    this.#oracle = options.oracle;
    this.#writeCache = options.writeCache;
    this.#generation = generation;
    const mix = [
      ...MIX,
      ['unmap', options.discards === false ? 0 : 2],
      ['atomic', options.atomic ?? 0],
      ['modeSelect', options.modeSelect === true ? 1 : 0],
    ] as const;
    this.#kinds = mix.flatMap(([kind, weight]) => Array.from({ length: weight }, () => kind));
  }

  /** The last generation in use. */
  get generation(): number {
    return this.#generation;
  }

  /** The next command. */
  next(): Operation {
    const kind = this.#random.pick(this.#kinds);
    // COMPARE AND WRITE has a byte for its length.
    const range = this.#range(kind === 'compareWrite' ? COMPARE_BLOCKS_MAX : undefined);
    switch (kind) {
      case 'write':
        return this.#write('WRITE', range, this.#random.pick([0x2a, 0x8a]), 0);
      case 'writeFua':
        return this.#write('WRITE FUA', range, this.#random.pick([0x2a, 0x8a]), FUA);
      case 'writeVerify':
        return this.#writeVerify(range);
      case 'writeSame':
        return this.#writeSame(range);
      case 'zeroSame':
        return this.#zeroSame(range);
      case 'unmap':
        return this.#unmap();
      case 'compareWrite':
        return this.#compareWrite(range);
      case 'orWrite':
        return this.#orWrite(range);
      case 'atomic':
        return this.#atomic(range);
      case 'sync':
        return this.#sync();
      case 'read':
        return this.#read(range, 0);
      case 'readFua':
        return this.#read(range, FUA);
      case 'modeSelect':
        return this.#modeSelect();
    }
  }

  #range(limit = Infinity): Range {
    const most = Math.min(limit, this.#options.blocksMax);
    const blocks = 1 + this.#random.below(this.#random.chance(0.5) ? Math.min(4, most) : most);
    return { lba: this.#random.below(this.#oracle.blocks - blocks + 1), blocks };
  }

  #write(name: string, range: Range, opcode: number, flags: number): Operation {
    const { stamps, data } = this.#fresh(range);
    const cdb = cdbOf(opcode, flags, range);
    const write = this.#oracle.send(lbasOf(range), stamps);
    return this.#writes(name, cdb, data, write, flags === FUA);
  }

  #writeVerify(range: Range): Operation {
    const { stamps, data } = this.#fresh(range);
    const cdb = cdbOf(this.#random.pick([0x2e, 0x8e]), this.#random.pick([0, 0x02]), range);
    const write = this.#oracle.send(lbasOf(range), stamps);
    return this.#writes('WRITE AND VERIFY', cdb, data, write, true);
  }

  #writeSame(range: Range): Operation {
    const stamp: Stamp = { tag: SAME_TAG, generation: this.#nextGeneration() };
    const data = Buffer.alloc(BLOCK_BYTES);
    writeStamp(data, 0, stamp);
    const lbas = lbasOf(range);
    const cdb = cdbOf(this.#random.pick([0x41, 0x93]), 0, range);
    const write = this.#oracle.send(
      lbas,
      lbas.map(() => stamp),
    );
    return this.#writes('WRITE SAME', cdb, data, write, false);
  }

  /** WRITE SAME of zeros: with the block, without it (NDOB), or with UNMAP. */
  #zeroSame(range: Range): Operation {
    const thin = this.#options.discards !== false;
    const flags = this.#random.pick(thin ? [0, 0x01, 0x08, 0x09] : [0, 0x01]);
    const cdb = cdb16(0x93, flags, range.lba, range.blocks);
    const data = (flags & 0x01) === 0 ? Buffer.alloc(BLOCK_BYTES) : null;
    const write = this.#sendZeros(lbasOf(range));
    return this.#writes(`WRITE SAME of zeros, flags ${flags}`, cdb, data, write, false);
  }

  #unmap(): Operation {
    const ranges = Array.from({ length: 1 + this.#random.below(3) }, () => this.#range());
    const { cdb, list } = unmap(ranges);
    const write = this.#sendZeros([...new Set(ranges.flatMap((r) => lbasOf(r)))]);
    return this.#writes('UNMAP', cdb, list, write, false);
  }

  #compareWrite(range: Range): Operation {
    const lbas = lbasOf(range);
    const expected = lbas.map((lba) => this.#oracle.certain(lba));
    const { stamps, data } = this.#fresh(range);
    const compare = Buffer.alloc(data.length);
    expected.forEach((stamp, i) => writeStamp(compare, i * BLOCK_BYTES, stamp ?? ZERO));
    const flags = this.#random.pick([0, 0, FUA]);
    const cdb = cdb16(0x89, flags, range.lba, 0);
    cdb[13] = range.blocks;
    const write = this.#oracle.send(lbas, stamps);
    const out = Buffer.concat([compare, data]);
    return this.#writes('COMPARE AND WRITE', cdb, out, write, flags === FUA);
  }

  /** ORWRITE of zeros writes back what it read: whoever comes between must not be undone. */
  #orWrite(range: Range): Operation {
    const cdb = cdb16(0x8b, FUA, range.lba, range.blocks);
    const sent = this.#oracle.tick();
    return {
      name: 'ORWRITE',
      cdb,
      out: Buffer.alloc(range.blocks * BLOCK_BYTES),
      inBytes: 0,
      ended: (answer) => {
        if (this.#good('ORWRITE', answer)) this.#oracle.flushed(sent, lbasOf(range));
      },
      lost: () => {},
    };
  }

  #atomic(range: Range): Operation {
    const { stamps, data } = this.#fresh(range);
    const cdb = cdb16(0x9c, this.#random.pick([0, FUA]), range.lba, 0);
    cdb.writeUInt16BE(range.blocks, 12);
    const write = this.#oracle.send(lbasOf(range), stamps, true);
    return this.#writes('WRITE ATOMIC', cdb, data, write, true);
  }

  #sync(): Operation {
    // A range says nothing: the promise is about all blocks (durability contract 4).
    const cdb = cdbOf(this.#random.pick([0x35, 0x91]), this.#random.pick([0, 0x02]), {
      lba: 0,
      blocks: this.#random.below(2),
    });
    return this.#flushing('SYNCHRONIZE CACHE', cdb, null, true, () => {});
  }

  #read(range: Range, flags: number): Operation {
    const sent = this.#oracle.sendRead();
    return {
      name: flags === FUA ? 'READ FUA' : 'READ',
      cdb: cdbOf(this.#random.pick([0x28, 0x88]), flags, range),
      out: null,
      inBytes: range.blocks * BLOCK_BYTES,
      ended: (answer) => {
        if (!this.#good('READ', answer)) {
          this.#oracle.readFailed();
          return;
        }
        assert.equal(answer.data.length, range.blocks * BLOCK_BYTES);
        this.#oracle.read(range.lba, answer.data, sent);
        if (flags === FUA) this.#oracle.flushed(sent, lbasOf(range));
      },
      lost: () => {
        this.#oracle.readFailed();
      },
    };
  }

  /** Switching the cache off makes everything durable; on or off, others are told. */
  #modeSelect(): Operation {
    const before = this.#writeCache;
    // One at a time: the order of two would not be known.
    if (before === null) return this.#sync();
    const on = this.#random.chance(0.5);
    const { cdb, list } = selectWriteCache(on);
    this.#writeCache = null;
    // Only the switch from on to off flushes.
    const flushes = before && !on;
    return this.#flushing(`MODE SELECT WCE=${on ? 1 : 0}`, cdb, list, flushes, (good) => {
      this.#writeCache = good ? on : before;
    });
  }

  /** A command that may flush; `promises`: its GOOD says that all before it is durable. */
  #flushing(
    name: string,
    cdb: Buffer,
    out: Buffer | null,
    promises: boolean,
    then: (good: boolean) => void,
  ): Operation {
    const sent = this.#oracle.tick();
    return {
      name,
      cdb,
      out,
      inBytes: 0,
      ended: (answer) => {
        const good = this.#good(name, answer);
        if (good && promises) this.#oracle.flushed(sent);
        then(good);
      },
      lost: () => {},
    };
  }

  #writes(name: string, cdb: Buffer, out: Buffer | null, write: Write, hard: boolean): Operation {
    const process = this.#options.crash === 'process';
    return {
      name,
      cdb,
      out,
      inBytes: 0,
      ended: (answer) => {
        if (this.#good(name, answer)) {
          // Whoever knows that the cache is off may believe every GOOD from then on.
          const through = this.#writeCache === false;
          this.#oracle.acknowledge(write, process || hard || through);
        } else if (answer.sense.startsWith('6/') || this.#miscompared(name, answer)) {
          this.#oracle.refuse(write);
        } else {
          this.#oracle.fail(write);
        }
      },
      lost: () => {
        this.#oracle.fail(write);
      },
    };
  }

  #miscompared(name: string, answer: Answer): boolean {
    return name === 'COMPARE AND WRITE' && answer.sense === 'e/1d/00';
  }

  #good(name: string, answer: Answer): boolean {
    if (answer.status === 0) return true;
    const told = answer.sense.startsWith('6/') || answer.sense.startsWith('e/');
    const text = `${name}: status ${answer.status}, sense ${answer.sense}`;
    assert.ok(told || this.#options.mayFail === true, text);
    return false;
  }

  #sendZeros(lbas: readonly number[]): Write {
    return this.#oracle.send(
      lbas,
      lbas.map(() => ZERO),
    );
  }

  #fresh(range: Range): { readonly stamps: Stamp[]; readonly data: Buffer } {
    const generation = this.#nextGeneration();
    const stamps = lbasOf(range).map((tag) => ({ tag, generation }));
    const data = Buffer.alloc(range.blocks * BLOCK_BYTES);
    stamps.forEach((stamp, i) => writeStamp(data, i * BLOCK_BYTES, stamp));
    return { stamps, data };
  }

  #nextGeneration(): number {
    this.#generation += 1;
    return this.#generation;
  }
}

function lbasOf({ lba, blocks }: Range): number[] {
  return Array.from({ length: blocks }, (_, i) => lba + i);
}

function cdbOf(opcode: number, flags: number, { lba, blocks }: Range): Buffer {
  return opcode >= 0x80 ? cdb16(opcode, flags, lba, blocks) : cdb10(opcode, flags, lba, blocks);
}
