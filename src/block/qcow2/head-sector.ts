import { ExtensionType, Incompatible, extensionOf } from './header.ts';
import type { Header, HeaderExtension } from './header.ts';
import { writeBytes } from './file-io.ts';
import type { ImageFile } from './image-file.ts';
import { JOURNAL_AUTOCLEAR, JOURNAL_EXTENSION_BYTES, JOURNAL_VERSION } from './journal-codec.ts';

const SECTOR_BYTES = 512;

/**
 * The first sector of the image, in memory and on its way to the file. Every change of the header
 * is one write of this one sector: a disk does not tear it, so the image is before or after the
 * change (durability contract 6). What follows the sector (long names, feature names) is never
 * touched.
 */
export class HeadSector {
  readonly #file: ImageFile;
  readonly #header: Header;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Where our extension's data begins; 0 when there is no room for it. */
  #journalAt = 0;

  /** `bytes` are the first of the file, at least a sector unless the file is shorter. */
  constructor(file: ImageFile, header: Header, bytes: Uint8Array) {
    this.#file = file;
    this.#header = header;
    this.#bytes = new Uint8Array(SECTOR_BYTES);
    this.#bytes.set(bytes.subarray(0, SECTOR_BYTES));
    this.#view = new DataView(this.#bytes.buffer);
    const ours = extensionOf(header, ExtensionType.JOURNAL);
    const whole = ours !== undefined && ours.data.length === JOURNAL_EXTENSION_BYTES;
    if (whole && ours.at + 8 + JOURNAL_EXTENSION_BYTES <= SECTOR_BYTES) {
      this.#journalAt = ours.at + 8;
    }
  }

  set sizeBytes(value: number) {
    this.#setNumber(24, value);
  }

  setL1(offset: number, entries: number): void {
    this.#view.setUint32(36, entries);
    this.#setNumber(40, offset);
  }

  setRefcountTable(offset: number, clusters: number): void {
    this.#setNumber(48, offset);
    this.#view.setUint32(56, clusters);
  }

  setSnapshots(offset: number, count: number): void {
    this.#view.setUint32(60, count);
    this.#setNumber(64, offset);
  }

  /** Sets or clears an incompatible feature; version 2 has none, then nothing happens. */
  setIncompatible(bit: number, on: boolean): void {
    if (this.#header.version === 2) return;
    const old = this.#view.getUint32(76);
    this.#view.setUint32(76, on ? old | bit : old & ~bit);
  }

  /** Whether refcounts and flags may disagree with the tables and must be counted anew. */
  get dirty(): boolean {
    if (this.#header.version === 3) return (this.#view.getUint32(76) & Incompatible.DIRTY) !== 0;
    return this.#journalAt !== 0 && this.#view.getUint32(this.#journalAt + 20) !== 0;
  }

  /**
   * Version 2 has no dirty bit: there our extension says it, to us alone. If another program works
   * on the image meanwhile, counting anew for nothing harms nobody.
   */
  setDirty(on: boolean): void {
    this.setIncompatible(Incompatible.DIRTY, on);
    if (this.#header.version === 3) return;
    if (on && this.#journalAt === 0) this.#relocate();
    if (this.#journalAt !== 0) this.#view.setUint32(this.#journalAt + 20, on ? 1 : 0);
  }

  /** Whether a journal can be announced; makes room for it when there is none yet. */
  prepareJournal(): boolean {
    if (this.#header.version === 2) return false;
    if (this.#journalAt === 0) this.#relocate();
    return this.#journalAt !== 0;
  }

  /** Announces the journal; `offset` 0 takes it back. All other autoclear features go. */
  setJournal(offset: number, lengthBytes: number): void {
    if (this.#journalAt !== 0) {
      this.#setNumber(this.#journalAt, offset);
      this.#setNumber(this.#journalAt + 8, lengthBytes);
      this.#view.setUint32(this.#journalAt + 16, offset === 0 ? 0 : JOURNAL_VERSION);
    }
    this.#setAutoclear(offset === 0 ? 0n : JOURNAL_AUTOCLEAR);
  }

  /** The journal that the file announced when it was read, null when none is valid. */
  journalFound(): { readonly offset: number; readonly lengthBytes: number } | null {
    if (this.#journalAt === 0 || (this.#header.autoclear & JOURNAL_AUTOCLEAR) === 0n) return null;
    if (this.#view.getUint32(this.#journalAt + 16) !== JOURNAL_VERSION) return null;
    const offset = this.#number(this.#journalAt);
    const lengthBytes = this.#number(this.#journalAt + 8);
    return offset === 0 ? null : { offset, lengthBytes };
  }

  /** Writes the sector. Rejects with BlockError. */
  write(): Promise<void> {
    return writeBytes(this.#file, 0, this.#bytes.slice());
  }

  #setAutoclear(value: bigint): void {
    if (this.#header.version === 3) this.#view.setBigUint64(88, value);
  }

  /**
   * Lays the extensions out again with ours first, all within this sector; without the table of
   * feature names, which only serves messages, and without bitmaps, which a writer that does not
   * keep them makes worthless. Nothing happens when it does not fit.
   */
  #relocate(): void {
    const { headerBytes, backingOffset, backingName, extensions } = this.#header;
    const ours: HeaderExtension = {
      type: ExtensionType.JOURNAL,
      at: 0,
      data: new Uint8Array(JOURNAL_EXTENSION_BYTES),
    };
    const gone: readonly number[] = [
      ExtensionType.FEATURE_NAMES,
      ExtensionType.BITMAPS,
      ExtensionType.JOURNAL,
    ];
    const kept = [ours, ...extensions.filter((e) => !gone.includes(e.type))];
    const bytes = kept.reduce((sum, e) => sum + 8 + Math.ceil(e.data.length / 8) * 8, 8);
    const end = headerBytes + bytes;
    let nameAt = backingOffset;
    // A name that lies behind the new extensions stays where it is.
    if (backingName !== null && backingOffset < end) {
      if (end + backingName.length > SECTOR_BYTES) return;
      nameAt = end;
    }
    if (end > SECTOR_BYTES) return;
    const limit = nameAt >= end && nameAt < SECTOR_BYTES && nameAt !== end ? nameAt : SECTOR_BYTES;
    this.#bytes.fill(0, headerBytes, limit);
    let at = headerBytes;
    for (const e of kept) {
      this.#view.setUint32(at, e.type);
      this.#view.setUint32(at + 4, e.data.length);
      this.#bytes.set(e.data, at + 8);
      at += 8 + Math.ceil(e.data.length / 8) * 8;
    }
    if (backingName !== null && nameAt === end) {
      this.#bytes.set(backingName, end);
      this.#setNumber(8, end);
    }
    this.#journalAt = headerBytes + 8;
  }

  #number(at: number): number {
    return this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
  }

  #setNumber(at: number, value: number): void {
    this.#view.setUint32(at, Math.floor(value / 2 ** 32));
    this.#view.setUint32(at + 4, value % 2 ** 32);
  }
}
