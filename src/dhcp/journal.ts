import { EnvironmentError, InternalError, messageOf, type Clock, type Log } from '#base/mod.ts';
import type { JournalFile, JournalStore } from './journal-file.ts';
import {
  JOURNAL_HEAD,
  type JournalRecord,
  RECORD_BYTES,
  readRecords,
  writeRecord,
} from './journal-record.ts';

/**
 * `durable`: it survives kill -9 and power loss. `conflict`: another boot server of the fleet holds
 * the address (a shared store's word). `failed`: it could not be written.
 */
export type CommitOutcome = 'durable' | 'conflict' | 'failed';

/** Where leases are made durable. The journal here, or a fleet's shared store. */
export interface LeaseLog {
  /** Answers `done` once, later. Records are committed in order. */
  append(record: JournalRecord, done: (outcome: CommitOutcome) => void): void;
}

/**
 * Zeros written ahead of the end (1 MiB, about 17,000 leases): overwriting them changes no
 * metadata, so a commit is one write of the disk and not two.
 */
const AHEAD_BYTES = 1 << 20;
/** A journal is rewritten when it is this much longer than after the last rewriting, twice over. */
const COMPACT_BYTES = 4 << 20;
/** A failed disk is tried again after this time; until then every commit fails at once. */
const RETRY_MS = 1000;
/** Records between two turns of the event loop while rewriting: about 2 ms of work. */
const REWRITE_SLICE = 2000;
/** Largest batch of one write: 1,000 to 10,000 leases. */
const BATCH_BYTES = 1 << 20;

type Waiting = (outcome: CommitOutcome) => void;

/**
 * Append-only lease journal with group commit: while one batch is on its way to the disk, the next
 * gathers. Use: `open`, put the records into the tables, `start`, then `append`.
 */
export class LeaseJournal implements LeaseLog {
  readonly #store: JournalStore;
  readonly #clock: Clock;
  readonly #log: Log;
  #file: JournalFile | undefined;
  #live: () => Iterable<JournalRecord> = () => [];
  #gathering = Buffer.allocUnsafe(64 << 10);
  #spare = Buffer.allocUnsafe(64 << 10);
  #gathered = 0;
  #waiting: Waiting[] = [];
  #position = 0;
  #zeroedTo = 0;
  #compactAt = 0;
  #retryAtMs = 0;
  #flushing: Promise<void> | undefined;
  #closed = false;

  private constructor(store: JournalStore, clock: Clock, log: Log) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /** Reads the journal. Throws EnvironmentError when it cannot be read or is no journal of ours. */
  static async open(
    store: JournalStore,
    clock: Clock,
    log: Log,
  ): Promise<{ journal: LeaseJournal; records: JournalRecord[] }> {
    const journal = new LeaseJournal(store, clock, log);
    const bytes = await store.read();
    if (bytes === undefined || bytes.length === 0) return { journal, records: [] };
    const contents = readRecords(bytes);
    if (contents === undefined) {
      throw new EnvironmentError('dhcp-journal', {
        what: 'the lease journal is a file of another kind',
        why: 'it does not begin as a lease journal does',
        todo: 'name another file, or move this one away',
      });
    }
    if (contents.torn) {
      log.warn({ atByte: contents.endBytes }, 'lease journal: an unfinished end was left out');
    }
    return { journal, records: contents.records };
  }

  /**
   * Begins a new generation holding `live()`, which is asked again at each rewriting. Throws
   * EnvironmentError when it cannot be written.
   */
  async start(live: () => Iterable<JournalRecord>): Promise<void> {
    this.#live = live;
    await this.#rewrite();
  }

  append(record: JournalRecord, done: Waiting): void {
    if (this.#closed) {
      queueMicrotask(() => {
        done('failed');
      });
      return;
    }
    if (this.#gathered + RECORD_BYTES > this.#gathering.length) this.#grow();
    this.#gathered = writeRecord(this.#gathering, this.#gathered, record);
    this.#waiting.push(done);
    this.#flushing ??= this.#flush();
  }

  /** Commits what was appended and closes the file. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#flushing;
    await this.#file?.close();
    this.#file = undefined;
  }

  #grow(): void {
    const grown = Buffer.allocUnsafe(this.#gathering.length * 2);
    this.#gathering.copy(grown, 0, 0, this.#gathered);
    this.#gathering = grown;
  }

  async #flush(): Promise<void> {
    // Every packet of this turn of the event loop joins the first batch.
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    while (this.#waiting.length > 0) {
      const batch = this.#gathering;
      const length = this.#gathered;
      const waiting = this.#waiting;
      this.#gathering = this.#spare;
      this.#gathered = 0;
      this.#waiting = [];
      const outcome = await this.#commit(batch.subarray(0, length));
      this.#spare = batch.length <= BATCH_BYTES ? batch : Buffer.allocUnsafe(64 << 10);
      for (const done of waiting) this.#answer(done, outcome);
      if (outcome === 'durable' && this.#position > this.#compactAt) await this.#compact();
    }
    this.#flushing = undefined;
  }

  /** One that throws must not keep the others, nor any later lease, from their answer. */
  #answer(done: Waiting, outcome: CommitOutcome): void {
    try {
      done(outcome);
    } catch (e) {
      this.#log.error({ error: messageOf(e) }, 'lease journal: what waited for it failed');
    }
  }

  async #commit(bytes: Uint8Array): Promise<CommitOutcome> {
    try {
      if (this.#file === undefined) await this.#recover();
      const file = this.#file;
      if (file === undefined) return 'failed';
      const end = this.#position + bytes.length;
      if (end > this.#zeroedTo) {
        const zeros = Buffer.alloc(AHEAD_BYTES + end - this.#zeroedTo);
        await file.write(zeros, this.#zeroedTo);
        this.#zeroedTo += zeros.length;
      }
      await file.write(bytes, this.#position);
      this.#position = end;
      return 'durable';
    } catch (e) {
      await this.#fail(e);
      return 'failed';
    }
  }

  /**
   * After a failed write nobody knows what the file holds, and a second try that succeeds proves
   * nothing ("fsyncgate"): this generation is given up, and a whole new one is written.
   */
  async #fail(e: unknown): Promise<void> {
    this.#log.error({ error: messageOf(e) }, 'lease journal: no lease can be given');
    this.#retryAtMs = this.#clock.monotonicMs() + RETRY_MS;
    const broken = this.#file;
    this.#file = undefined;
    await broken?.close().catch(() => undefined);
  }

  async #recover(): Promise<void> {
    if (this.#clock.monotonicMs() < this.#retryAtMs) return;
    await this.#rewrite();
    this.#log.info({}, 'lease journal: writable again');
  }

  async #compact(): Promise<void> {
    try {
      await this.#rewrite();
    } catch (e) {
      await this.#fail(e);
    }
  }

  async #rewrite(): Promise<void> {
    const old = this.#file;
    let length = 0;
    async function* content(live: Iterable<JournalRecord>): AsyncGenerator<Uint8Array> {
      yield JOURNAL_HEAD;
      length = JOURNAL_HEAD.length;
      for (const chunk of chunks(live)) {
        length += chunk.length;
        yield chunk;
        await new Promise<void>((resolve) => {
          setImmediate(resolve);
        });
      }
      yield Buffer.alloc(AHEAD_BYTES);
    }
    this.#file = await this.#store.replace(content(this.#live()));
    if (length < JOURNAL_HEAD.length) throw new InternalError('a journal without head');
    this.#position = length;
    this.#zeroedTo = length + AHEAD_BYTES;
    this.#compactAt = 2 * length + COMPACT_BYTES;
    await old?.close().catch(() => undefined);
  }
}

function* chunks(live: Iterable<JournalRecord>): Generator<Uint8Array> {
  let buffer = Buffer.allocUnsafe(REWRITE_SLICE * RECORD_BYTES);
  let at = 0;
  let count = 0;
  for (const record of live) {
    at = writeRecord(buffer, at, record);
    count += 1;
    if (count < REWRITE_SLICE) continue;
    yield buffer.subarray(0, at);
    buffer = Buffer.allocUnsafe(REWRITE_SLICE * RECORD_BYTES);
    at = 0;
    count = 0;
  }
  if (at > 0) yield buffer.subarray(0, at);
}
