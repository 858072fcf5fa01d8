import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import { Changes } from './changes.ts';
import { Checkpointer } from './checkpoint.ts';
import { CompressedReader } from './compressed.ts';
import { blockErrorFrom } from './error.ts';
import { answered } from '../answered.ts';
import { WriteGate } from './gate.ts';
import type { Image } from './image.ts';
import { InFlight } from './in-flight.ts';
import { Journal } from './journal.ts';
import { Mapper } from './mapper.ts';
import { ClusterPool } from './pool.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';
import { Zeroer } from './zeroer.ts';

/** The parts of an open image, put together, and what concerns all of them. */
export class Engine {
  readonly image: Image;
  readonly mapper: Mapper;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly zeroer: Zeroer;
  readonly journal: Journal;
  readonly pool: ClusterPool;
  readonly changes: Changes;
  readonly checkpointer: Checkpointer;
  readonly gate = new WriteGate();
  readonly #inFlight = new InFlight();

  constructor(image: Image) {
    this.image = image;
    this.mapper = new Mapper(image);
    const compressed = new CompressedReader(image);
    this.reader = new Reader(image, this.mapper, compressed, this.#inFlight);
    this.journal = new Journal(image);
    this.pool = new ClusterPool(image, this.journal);
    this.changes = new Changes(image, this.journal, this.pool, this.#inFlight);
    this.checkpointer = new Checkpointer(image, this.changes);
    this.changes.onFilling = () => {
      this.checkpointer.soon();
    };
    this.writer = new Writer({
      image,
      mapper: this.mapper,
      reader: this.reader,
      compressed,
      journal: this.journal,
      pool: this.pool,
      changes: this.changes,
      checkpointer: this.checkpointer,
    });
    this.zeroer = new Zeroer(this);
  }

  /** Runs a change of the disk that may wait, and answers when it would survive our death. */
  change(
    offset: number,
    done: BlockDone,
    step: (writer: Writer, zeroer: Zeroer) => Promise<boolean>,
  ): void {
    this.#change(offset, step).then(
      () => {
        done(null);
      },
      (e: unknown) => {
        done(blockErrorFrom(e, offset));
      },
    );
  }

  /** Runs a step while nothing changes the disk, with everything written. */
  async alone<T>(step: () => Promise<T>): Promise<T> {
    await this.gate.hold();
    try {
      this.image.assertWritable(0);
      await answered((done) => {
        this.checkpointer.flush(done);
      });
      await this.changes.reaped();
      return await step();
    } finally {
      this.gate.release();
    }
  }

  /** Flushes, gives back what was reserved, lets go of the file. Never rejects. */
  async close(): Promise<BlockError | null> {
    const { image } = this;
    let error: BlockError | null = null;
    await this.gate.hold();
    try {
      if (!image.readOnly && image.failure === null) {
        await answered((done) => {
          this.checkpointer.flush(done);
        });
        await this.changes.reaped();
        await this.changes.stopJournal();
        await this.pool.drain();
      }
    } catch (e) {
      error = blockErrorFrom(e, 0);
    }
    image.failure ??= new BlockError('gone', 'the image is closed', 0);
    this.gate.release();
    await this.#inFlight.idle();
    await image.marked;
    await new Promise<void>((resolve) => {
      image.file.close(() => {
        resolve();
      });
    });
    return error;
  }

  async #change(
    offset: number,
    step: (writer: Writer, zeroer: Zeroer) => Promise<boolean>,
  ): Promise<void> {
    await this.gate.enter();
    const call = this.#inFlight.enter();
    try {
      this.image.assertWritable(offset);
      const changed = await step(this.writer, this.zeroer);
      if (this.journal.state === 'unavailable' && (changed || this.changes.pending)) {
        // Without a journal only the tables themselves remember the change, be it another's.
        await answered((done) => {
          this.checkpointer.flush(done);
        });
      }
    } finally {
      this.#inFlight.leave(call);
      this.gate.leave();
    }
  }
}
