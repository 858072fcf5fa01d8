/**
 * The receiving side of a TFTP transfer without sockets (RFC 1350, RFC 7440), for simulated links
 * and for load. It acknowledges like a careful client: at the end of each window, at the last
 * block, once per gap, and again when the sender repeats what it already has.
 */
export class Receiver {
  readonly #blockBytes: number;
  readonly #windowBlocks: number;
  /** Blocks received in order. */
  #have = 0;
  #sinceAck = 0;
  #gapAckedAt = -1;
  #done = false;

  constructor(blockBytes: number, windowBlocks: number) {
    this.#blockBytes = blockBytes;
    this.#windowBlocks = windowBlocks;
  }

  get done(): boolean {
    return this.#done;
  }

  get haveBlocks(): number {
    return this.#have;
  }

  /**
   * Takes a DATA packet of `lengthBytes` of data. `accepted`: these bytes come next in the file;
   * `ack`: send this acknowledgement.
   */
  data(block: number, lengthBytes: number): { accepted: boolean; ack?: number } {
    const ahead = (block - this.#have) & 0xffff;
    if (ahead !== 1 || this.#done) return this.#outOfOrder(ahead);
    this.#have += 1;
    this.#sinceAck += 1;
    this.#done = lengthBytes < this.#blockBytes;
    if (!this.#done && this.#sinceAck < this.#windowBlocks) return { accepted: true };
    return { accepted: true, ack: this.ack() };
  }

  /** The acknowledgement of all that is here; also what a time-out sends. */
  ack(): number {
    this.#sinceAck = 0;
    return this.#have & 0xffff;
  }

  #outOfOrder(ahead: number): { accepted: boolean; ack?: number } {
    const future = ahead !== 0 && ahead < 0x8000;
    if (future) {
      if (this.#gapAckedAt === this.#have || this.#done) return { accepted: false };
      this.#gapAckedAt = this.#have;
      return { accepted: false, ack: this.ack() };
    }
    // A block we have: the last one acknowledged again means that our ACK was lost.
    return ahead === 0 && this.#sinceAck === 0
      ? { accepted: false, ack: this.ack() }
      : { accepted: false };
  }
}
