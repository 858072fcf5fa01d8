/**
 * Which host clusters hold the image's own structures (header, L1, active L2, refcount table and
 * blocks, snapshot table and L1 tables of snapshots, journal): a bit each, up to the last cluster
 * that the refcounts can describe. Asked before every write, so an L2 entry that points at a
 * structure, by damage or malice, never lets a guest write over it (hostile case 34; what QEMU
 * calls the metadata overlap check).
 */
export class MetadataMap {
  #bits = new Uint8Array(64);

  /** Marks clusters; false, and nothing marked, when one of them is marked already. */
  add(cluster: number, count = 1): boolean {
    for (let c = cluster; c < cluster + count; c++) if (this.has(c)) return false;
    this.#reach(cluster + count);
    for (let c = cluster; c < cluster + count; c++) this.#bits[c >>> 3]! |= 1 << (c & 7);
    return true;
  }

  remove(cluster: number, count = 1): void {
    for (let c = cluster; c < cluster + count; c++) {
      if (this.has(c)) this.#bits[c >>> 3]! &= ~(1 << (c & 7));
    }
  }

  clear(): void {
    this.#bits = new Uint8Array(64);
  }

  has(cluster: number): boolean {
    // Beyond 2^32 clusters >>> would wrap; the table is never that long.
    const byte = cluster < 2 ** 32 ? this.#bits[cluster >>> 3] : 0;
    return byte !== undefined && (byte & (1 << (cluster & 7))) !== 0;
  }

  #reach(clusters: number): void {
    const bytes = Math.ceil(clusters / 8);
    if (bytes <= this.#bits.length) return;
    const more = new Uint8Array(Math.max(bytes, 2 * this.#bits.length));
    more.set(this.#bits);
    this.#bits = more;
  }
}
