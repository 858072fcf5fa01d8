import { DecodeError } from '#base/mod.ts';
import { decodeFatBootSector, type FatBootSector } from './fat-boot-sector.ts';
import { Attribute, type DirectoryEntry, decodeDirectory, nameText } from './fat-directory.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/** A directory larger than this is damage: FAT allows 65,536 entries. */
const MAX_DIRECTORY_BYTES = 65536 * 32;
/** Largest file that `readFile` returns. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

/**
 * Reads a FAT file system by 8.3 names (every long name has one). Damage throws DecodeError; loops
 * and absurd lengths are bounded.
 */
export class FatReader {
  readonly boot: FatBootSector;
  readonly #io: SectorIo;

  /** Throws DecodeError when the first sector is no FAT boot sector. */
  constructor(io: SectorIo) {
    this.#io = io;
    this.boot = decodeFatBootSector(readSectors(io, 0, 1));
  }

  /** The label of the root directory; what the boot sector says is only a copy of it. */
  label(): string {
    const found = this.#root().find((e) => (e.attributes & Attribute.label) !== 0);
    const text = found === undefined ? this.boot.label : Buffer.from(found.name).toString('latin1');
    return text.trimEnd() === 'NO NAME' ? '' : text.trimEnd();
  }

  /** Names in a folder ("" is the root), without "." and "..". Undefined when there is none. */
  list(path: string): string[] | undefined {
    const entries = this.#folder(path);
    return entries
      ?.filter((e) => (e.attributes & Attribute.label) === 0)
      .map((e) => nameText(e.name))
      .filter((n) => n !== '.' && n !== '..');
  }

  /** Size of a file, or undefined when there is none. Case does not matter; "/" separates. */
  fileSize(path: string): number | undefined {
    return this.#file(path)?.sizeBytes;
  }

  /** The bytes of a file, or undefined when there is none. */
  readFile(path: string): Uint8Array | undefined {
    const entry = this.#file(path);
    if (entry === undefined) return undefined;
    if (entry.sizeBytes > MAX_FILE_BYTES) throw new DecodeError('fat-size', 'a huge file', 0);
    if (entry.sizeBytes === 0) return new Uint8Array();
    const chain = this.#chain(entry.cluster, entry.sizeBytes);
    if (chain.length < entry.sizeBytes) throw new DecodeError('fat-chain', 'a chain too short', 0);
    return chain.subarray(0, entry.sizeBytes);
  }

  #file(path: string): DirectoryEntry | undefined {
    const parts = path.split('/');
    const name = (parts.pop() ?? '').toUpperCase();
    const notFile = Attribute.folder | Attribute.label;
    return this.#folder(parts.join('/'))?.find(
      (e) => (e.attributes & notFile) === 0 && nameText(e.name).toUpperCase() === name,
    );
  }

  #folder(path: string): DirectoryEntry[] | undefined {
    let entries = this.#root();
    for (const part of path.split('/').filter((p) => p !== '')) {
      const next = entries.find(
        (e) => (e.attributes & Attribute.folder) !== 0 && nameText(e.name) === part.toUpperCase(),
      );
      if (next === undefined) return undefined;
      entries = this.#directory(next.cluster);
    }
    return entries;
  }

  #root(): DirectoryEntry[] {
    const { layout, rootCluster } = this.boot;
    if (layout.bits === 32) return this.#directory(rootCluster);
    const at = layout.dataStart - layout.rootSectors;
    return decodeDirectory(readSectors(this.#io, at, layout.rootSectors)).entries;
  }

  #directory(cluster: number): DirectoryEntry[] {
    return decodeDirectory(this.#chain(cluster, MAX_DIRECTORY_BYTES)).entries;
  }

  /** The bytes of a chain, at most `limitBytes` rounded up to a cluster. */
  #chain(first: number, limitBytes: number): Uint8Array {
    const { dataStart, sectorsPerCluster, clusterCount, bits } = this.boot.layout;
    const pieces: Uint8Array[] = [];
    const seen = new Set<number>();
    const clusterBytes = sectorsPerCluster * SECTOR_BYTES;
    for (let at = first; seen.size * clusterBytes < limitBytes;) {
      if (at < 2 || at >= clusterCount + 2 || seen.has(at)) {
        throw new DecodeError('fat-chain', `a chain of clusters leads to ${at}`, 0);
      }
      seen.add(at);
      const lba = dataStart + (at - 2) * sectorsPerCluster;
      pieces.push(readSectors(this.#io, lba, sectorsPerCluster));
      at = this.#next(at);
      if (at >= END_MARK[bits]) break;
    }
    return Buffer.concat(pieces);
  }

  #next(cluster: number): number {
    const { bits, reservedSectors } = this.boot.layout;
    const bit = cluster * bits;
    const at = Math.floor(bit / 8);
    // A FAT12 entry may straddle two sectors.
    const bytes = readSectors(this.#io, reservedSectors + Math.floor(at / SECTOR_BYTES), 2);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const from = at % SECTOR_BYTES;
    if (bits === 32) return view.getUint32(from, true) & 0x0fffffff;
    const pair = view.getUint16(from, true);
    if (bits === 16) return pair;
    return bit % 8 === 0 ? pair & 0xfff : pair >> 4;
  }
}

/** From here on an entry ends its chain (FAT spec §4.2). */
const END_MARK = { 12: 0xff8, 16: 0xfff8, 32: 0x0ffffff8 } as const;
