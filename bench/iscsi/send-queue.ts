/**
 * What a session has to send: pieces of memory that stay as they are until the command they belong
 * to is answered, so that no payload is ever copied.
 */
import { GATHER_PIECES_MAX, SOCKET_FULL } from '#os/mod.ts';
import type { GatherSend } from '#os/mod.ts';

/** Pieces that may wait: 64 commands of 1 MiB in segments of 8 KiB, two pieces each. */
const CAPACITY = 16_384;

export class SendQueue {
  readonly #fd: number;
  readonly #message: GatherSend;
  readonly #addresses = new Float64Array(CAPACITY);
  readonly #lengths = new Uint32Array(CAPACITY);
  #head = 0;
  #tail = 0;

  constructor(fd: number, message: GatherSend) {
    this.#fd = fd;
    this.#message = message;
  }

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  add(address: number, lengthBytes: number): void {
    const last = (this.#tail + CAPACITY - 1) % CAPACITY;
    const end = this.#addresses[last]! + this.#lengths[last]!;
    if (!this.empty && address === end) {
      this.#lengths[last]! += lengthBytes;
      return;
    }
    this.#addresses[this.#tail] = address;
    this.#lengths[this.#tail] = lengthBytes;
    this.#tail = (this.#tail + 1) % CAPACITY;
    if (this.empty) throw new Error('more is to be sent than there is room for');
  }

  /** Sends as far as the socket takes it. */
  flush(): void {
    while (!this.empty) {
      let total = 0;
      let n = this.#head;
      for (let count = 0; n !== this.#tail && count < GATHER_PIECES_MAX; count++) {
        this.#message.add(this.#addresses[n]!, this.#lengths[n]!);
        total += this.#lengths[n]!;
        n = (n + 1) % CAPACITY;
      }
      const sent = this.#message.send(this.#fd);
      if (sent === SOCKET_FULL) return;
      if (sent < 0) throw new Error(`the target closed the connection (${sent})`);
      this.#drop(sent);
      if (sent < total) return;
    }
  }

  #drop(sent: number): void {
    let left = sent;
    while (left > 0) {
      const length = this.#lengths[this.#head]!;
      if (left < length) {
        this.#addresses[this.#head]! += left;
        this.#lengths[this.#head]! -= left;
        return;
      }
      left -= length;
      this.#head = (this.#head + 1) % CAPACITY;
    }
  }
}
