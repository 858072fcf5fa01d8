import { invariant } from '#base/mod.ts';
import { answered } from '../answered.ts';
import { readBytes, writeBytes } from './file-io.ts';
import { encodeHi, encodeLo } from './entry.ts';
import type { Image } from './image.ts';
import type { InFlight } from './in-flight.ts';
import type { Journal } from './journal.ts';
import { RecordKind } from './journal-codec.ts';
import { DIRTY_SLICES_MAX, JOURNAL_HALF_BYTES } from './limits.ts';
import type { ClusterPool } from './pool.ts';

/** Bytes for the tables, as they were when a checkpoint began. */
export type Sealed = {
  readonly epoch: number;
  readonly pieces: readonly { readonly position: number; readonly bytes: Uint8Array }[];
};

type Freed = { epoch: number; start: number; count: number; punch: boolean };

const DIRTY_SOON = (DIRTY_SLICES_MAX * 3) / 4;
/** Room in the journal that a single step may need before it looks again. */
const ROOM_MIN = 4;

/** Changes of the active L1 and L2 tables: the only place that makes them. */
export class Changes {
  readonly #image: Image;
  readonly #journal: Journal;
  readonly #pool: ClusterPool;
  readonly #inFlight: InFlight;
  readonly #tables = new Map<number, Promise<void>>();
  #freed: Freed[] = [];
  #ripe: Freed[] = [];
  #reaping: Promise<void> | null = null;
  #starting: Promise<void> | null = null;
  /** Called when a checkpoint should be made soon. */
  onFilling: () => void = () => undefined;

  constructor(image: Image, journal: Journal, pool: ClusterPool, inFlight: InFlight) {
    this.#image = image;
    this.#journal = journal;
    this.#pool = pool;
    this.#inFlight = inFlight;
  }

  /** Whether anything waits for a checkpoint. */
  get pending(): boolean {
    return this.#image.slices.dirtyCount > 0 || this.#image.l1.dirty || this.#freed.length > 0;
  }

  /** Whether a change can be made now; if not, a checkpoint makes room. */
  get hasRoom(): boolean {
    if (this.#image.slices.dirtyCount >= DIRTY_SLICES_MAX) return false;
    return this.#journal.state !== 'on' || this.#journal.room >= ROOM_MIN;
  }

  /** Whether the table of a guest cluster is there and ours alone. */
  ownsTable(index: number): boolean {
    return this.#image.l1.copied[index] === 1 && this.#image.l1.offsets[index] !== 0;
  }

  /**
   * Sets the entry of guest cluster `cluster`, which stands at `at` of the slice's words. The
   * caller has looked at `hasRoom` and `ownsTable`. Throws BlockError, then nothing changed.
   */
  setEntry(
    cluster: number,
    words: Uint32Array,
    at: number,
    host: number,
    alloc: number,
    zero: number,
  ): void {
    const { layout, slices } = this.#image;
    const hi = encodeHi(host);
    const lo = encodeLo(host, !layout.extended && zero !== 0);
    if (layout.extended) this.#journal.append(RecordKind.ENTRY, cluster, hi, lo, zero, alloc);
    else this.#journal.append(RecordKind.ENTRY, cluster, hi, lo);
    words[at] = hi;
    words[at + 1] = lo;
    if (layout.extended) {
      words[at + 2] = zero;
      words[at + 3] = alloc;
    }
    slices.change(Math.floor(cluster / layout.entriesPerSlice), this.#journal.epoch);
    if (this.#journal.filling || slices.dirtyCount >= DIRTY_SOON) this.onFilling();
  }

  /**
   * Notes that nothing in the tables uses host clusters any more. They are free once that is on
   * stable media and no call that began before can touch them.
   */
  free(start: number, count: number, punch: boolean): void {
    const last = this.#freed.at(-1);
    const { epoch } = this.#journal;
    const goesOn = last?.epoch === epoch && last.punch === punch;
    if (last !== undefined && goesOn && last.start + last.count === start) last.count += count;
    else this.#freed.push({ epoch, start, count, punch });
  }

  /** Gives guest clusters of L1 entry `index` a table that may be changed. Rejects: BlockError. */
  async ownTable(index: number): Promise<void> {
    const running = this.#tables.get(index);
    if (running !== undefined) return running;
    const making = this.#makeTable(index).finally(() => {
      this.#tables.delete(index);
    });
    this.#tables.set(index, making);
    return making;
  }

  /** Makes a journal if there can be one. Rejects with BlockError. */
  startJournal(): Promise<void> {
    this.#starting ??= this.#startJournal().finally(() => {
      this.#starting = null;
    });
    return this.#starting;
  }

  /** Takes the journal back: everything that it told is on stable media. Rejects: BlockError. */
  async stopJournal(): Promise<void> {
    if (this.#journal.state !== 'on') return;
    invariant(!this.pending, 'a checkpoint came before');
    const { sector, layout, metadata, refcounts, file } = this.#image;
    sector.setJournal(0, 0);
    try {
      await sector.write();
    } catch (e) {
      // It goes on, so the next who writes the sector must not take it back.
      sector.setJournal(this.#journal.offset, 2 * JOURNAL_HALF_BYTES);
      throw e;
    }
    this.#journal.stop();
    await this.#image.sync();
    const start = this.#journal.offset / layout.clusterBytes;
    metadata.remove(start, this.#journal.clusters);
    await answered((done) => {
      file.punch(this.#journal.offset, this.#journal.clusters * layout.clusterBytes, done);
    });
    await refcounts.add(start, this.#journal.clusters, -1);
  }

  /** What a checkpoint has to write, and turns to the next epoch. Throws BlockError. */
  seal(): Sealed | null {
    if (!this.pending) return null;
    const { slices, l1, layout, metadata } = this.#image;
    const { epoch } = this.#journal;
    const pieces: { position: number; bytes: Uint8Array }[] = [];
    slices.eachDirty((slice, words) => {
      const index = Math.floor(slice / layout.slicesPerTable);
      const table = l1.offsets[index] ?? 0;
      // The overlap check: what is written must be known as a table and nothing else.
      if (table === 0 || !metadata.has(table / layout.clusterBytes)) {
        throw this.#image.corrupt('an L2 table where none may be', table);
      }
      const bytes = Buffer.from(words.slice().buffer);
      bytes.swap32();
      const within = (slice - index * layout.slicesPerTable) * layout.sliceBytes;
      pieces.push({ position: table + within, bytes });
    });
    for (const index of l1.dirtyIndexes()) {
      pieces.push({ position: l1.offset + index * 8, bytes: l1.encode(index) });
    }
    this.#journal.turn();
    if (this.#journal.state === 'on') this.#pool.recordAll();
    return { epoch, pieces };
  }

  /** The tables of an epoch are on stable media: what it freed is free. */
  settle(epoch: number): void {
    this.#image.slices.settle(epoch);
    this.#image.l1.settle(epoch);
    this.#ripe.push(...this.#freed.filter((f) => f.epoch <= epoch));
    this.#freed = this.#freed.filter((f) => f.epoch > epoch);
    if (this.#ripe.length > 0 && this.#reaping === null) {
      this.#reaping = this.#reap().finally(() => {
        this.#reaping = null;
      });
    }
  }

  /** Resolves when all that was freed counts as free. */
  async reaped(): Promise<void> {
    while (this.#reaping !== null) await this.#reaping;
  }

  async #reap(): Promise<void> {
    const { refcounts, file, layout } = this.#image;
    while (this.#ripe.length > 0) {
      const batch = this.#ripe;
      this.#ripe = [];
      await this.#inFlight.drained();
      for (const { start, count, punch } of batch) {
        try {
          // A snapshot may still use some of it.
          if (punch && (await this.#allAreOne(start, count))) {
            await answered((done) => {
              file.punch(start * layout.clusterBytes, count * layout.clusterBytes, done);
            });
          }
          await refcounts.add(start, count, -1);
        } catch {
          // They stay counted: a leak, which a check finds.
        }
      }
    }
  }

  async #allAreOne(start: number, count: number): Promise<boolean> {
    for (let c = start; c < start + count; c++) {
      if ((await this.#image.refcounts.get(c)) !== 1) return false;
    }
    return true;
  }

  async #startJournal(): Promise<void> {
    const { sector, refcounts, layout, metadata } = this.#image;
    if (this.#journal.state !== 'off') return;
    if (!sector.prepareJournal()) {
      this.#journal.state = 'unavailable';
      return;
    }
    const run = await refcounts.take(this.#journal.clusters, this.#journal.clusters);
    const offset = run.start * layout.clusterBytes;
    try {
      await this.#journal.prepare(offset);
      sector.setJournal(offset, 2 * JOURNAL_HALF_BYTES);
      await sector.write();
      metadata.add(run.start, run.count);
      this.#journal.announced();
    } catch (e) {
      this.#journal.stop();
      sector.setJournal(0, 0);
      await refcounts.add(run.start, run.count, -1).catch(() => undefined);
      throw e;
    }
  }

  async #makeTable(index: number): Promise<void> {
    const { l1, layout, file, metadata } = this.#image;
    const old = l1.offsets[index]!;
    if (this.ownsTable(index)) return;
    if (this.#pool.count === 0) {
      await this.#pool.refill();
      return; // the caller looks again
    }
    const cluster = this.#pool.next();
    const offset = cluster * layout.clusterBytes;
    let marked = false;
    try {
      const empty = new Uint8Array(layout.clusterBytes);
      const bytes = old === 0 ? empty : await readBytes(file, old, layout.clusterBytes);
      // Written and not left a hole: a checkpoint then needs no space.
      await writeBytes(file, offset, bytes);
      if (!this.hasRoom) {
        this.#pool.giveBack(cluster);
        return;
      }
      marked = metadata.add(cluster);
      this.#journal.append(RecordKind.TABLE, index, encodeHi(offset), encodeLo(offset, false));
    } catch (e) {
      if (marked) metadata.remove(cluster);
      this.#pool.giveBack(cluster);
      throw e;
    }
    l1.set(index, offset, this.#journal.epoch);
    if (old !== 0) {
      metadata.remove(old / layout.clusterBytes);
      this.free(old / layout.clusterBytes, 1, false);
    }
  }
}
