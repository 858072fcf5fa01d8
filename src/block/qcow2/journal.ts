import { readBytes, writeBytes } from './file-io.ts';
import type { Image } from './image.ts';
import {
  RECORD_BYTES,
  decodeHalf,
  decodeRecord,
  encodeHalf,
  encodeRecord,
} from './journal-codec.ts';
import { JOURNAL_HEAD_BYTES } from './journal-codec.ts';
import type { JournalRecord } from './journal-codec.ts';
import { JOURNAL_HALF_BYTES } from './limits.ts';

/**
 * The journal of metadata changes: why a WRITE that was answered survives the death of this process
 * while the tables on disk are only ever changed in an order that survives a loss of power.
 *
 * A change (an L2 or L1 entry) is written here, 32 bytes into the page cache, before the command is
 * answered; the tables themselves change in memory only. A checkpoint makes the data durable, then
 * writes the tables, then makes them durable. Two halves take turns: while a checkpoint writes what
 * one half tells, changes go to the other.
 *
 * After the death of the process the next opener reads both halves and applies what they tell.
 * After a loss of power (the boot ID in the half differs) it ignores them: nothing of it was
 * flushed, and what it points at may not be there. An autoclear feature bit says that the journal
 * is valid, so a program that writes to the image without knowing of it makes it invalid first.
 */
export class Journal {
  /** `unavailable` (version 2, no room in the header): allocating writes wait for a flush. */
  state: 'off' | 'on' | 'unavailable' = 'off';
  epoch = 1;
  offset = 0;
  readonly #image: Image;
  readonly #record = new Uint8Array(RECORD_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  #half = 0;
  #at = 0;

  constructor(image: Image) {
    this.#image = image;
  }

  /** Clusters that it takes. */
  get clusters(): number {
    return Math.ceil((2 * JOURNAL_HALF_BYTES) / this.#image.layout.clusterBytes);
  }

  /** Records that still fit. */
  get room(): number {
    return Math.floor((JOURNAL_HALF_BYTES - this.#at) / RECORD_BYTES);
  }

  /** Whether more than half of the room is used. */
  get filling(): boolean {
    return this.state === 'on' && this.#at > JOURNAL_HALF_BYTES / 2;
  }

  /**
   * Lays an empty journal into the clusters at `offset`, which are ours. Nothing is written to it
   * before `announced`: a journal that the header does not name is nobody's. Rejects: BlockError.
   */
  async prepare(offset: number): Promise<void> {
    // Zeros, and not a hole: a record then needs no space, and nothing old can look like one.
    const { clusterBytes } = this.#image.layout;
    await writeBytes(this.#image.file, offset, new Uint8Array(this.clusters * clusterBytes));
    this.offset = offset;
    this.#half = 0;
    this.#begin();
  }

  /** The header names it now. */
  announced(): void {
    this.state = 'on';
  }

  /** Ends; the caller has written everything that it told. */
  stop(): void {
    if (this.state === 'on') this.state = 'off';
  }

  /** Writes a record. The caller has looked at `room`. Throws BlockError. */
  append(kind: number, index: number, hi: number, lo: number, bitHi = 0, bitLo = 0): void {
    if (this.state !== 'on') return;
    const { file } = this.#image;
    encodeRecord(this.#record, this.#view, 0, this.epoch, kind, index, hi, lo, bitHi, bitLo);
    const position = this.offset + this.#half * JOURNAL_HALF_BYTES + this.#at;
    // Its page was written a moment ago: to ask whether it is in memory costs more than the write.
    file.writeSync(position, this.#record, 0, RECORD_BYTES);
    this.#at += RECORD_BYTES;
  }

  /** Goes on in the other half under the next epoch. Throws BlockError, then nothing changed. */
  turn(): void {
    const before = { epoch: this.epoch, half: this.#half, at: this.#at };
    this.epoch += 1;
    if (this.state !== 'on') return;
    this.#half = 1 - this.#half;
    try {
      this.#begin();
    } catch (e) {
      this.epoch = before.epoch;
      this.#half = before.half;
      this.#at = before.at;
      throw e;
    }
  }

  #begin(): void {
    const { file } = this.#image;
    const head = encodeHalf(this.epoch, file.bootId);
    file.writeSync(this.offset + this.#half * JOURNAL_HALF_BYTES, head, 0, head.length);
    this.#at = JOURNAL_HEAD_BYTES;
  }
}

/**
 * What the journal at `offset` tells, in order; empty when it was written in another boot or is no
 * journal. Rejects with BlockError.
 */
export async function readJournal(image: Image, offset: number): Promise<JournalRecord[]> {
  const halves: { epoch: number; bytes: Uint8Array }[] = [];
  for (const half of [0, 1]) {
    const position = offset + half * JOURNAL_HALF_BYTES;
    const bytes = await readBytes(image.file, position, JOURNAL_HALF_BYTES);
    const epoch = decodeHalf(bytes, image.file.bootId);
    if (epoch !== null) halves.push({ epoch, bytes });
  }
  halves.sort((a, b) => a.epoch - b.epoch);
  const records: JournalRecord[] = [];
  for (const { epoch, bytes } of halves) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = JOURNAL_HEAD_BYTES; ; at += RECORD_BYTES) {
      const record = decodeRecord(bytes, view, at, epoch);
      if (record === null) break;
      records.push(record);
    }
  }
  return records;
}
