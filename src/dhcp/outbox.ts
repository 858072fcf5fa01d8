/**
 * What an outbox sends by; #net's DatagramTarget is one. Returns bytes taken or a negative errno.
 */
export type SegmentSender = {
  send(from: Uint8Array, at: number, lengthBytes: number, segmentBytes?: number): number;
};

/** Datagrams per system call, and bytes (the largest UDP payload): the kernel's limits. */
const SEGMENTS = 64;
const CALL_BYTES = 65_507;

/**
 * Replies to one relay. Those of one turn of the event loop that are equally long (nearly all have
 * 300 bytes) leave by one system call, which the kernel cuts into datagrams (UDP_SEGMENT): through
 * a bridge and a veth 25 µs per reply become 3. Where the interface cannot, they go one by one.
 */
export class Outbox {
  readonly #sender: SegmentSender;
  readonly #defer: (flush: () => void) => void;
  readonly #onFail: (bytes: Buffer) => void;
  #buffer = Buffer.allocUnsafe(0);
  #segmentBytes = 0;
  #count = 0;
  #scheduled = false;
  #segments = true;

  /** `defer` runs the flush at the end of this turn; `onFail` gets what the kernel did not take. */
  constructor(
    sender: SegmentSender,
    defer: (flush: () => void) => void,
    onFail: (bytes: Buffer) => void,
  ) {
    this.#sender = sender;
    this.#defer = defer;
    this.#onFail = onFail;
  }

  /** Takes a copy of the datagram. */
  put(bytes: Buffer): void {
    if (bytes.length !== this.#segmentBytes) this.#begin(bytes.length);
    this.#buffer.set(bytes, this.#count * this.#segmentBytes);
    this.#count += 1;
    if ((this.#count + 1) * this.#segmentBytes > this.#buffer.length) this.flush();
    if (this.#scheduled || this.#count === 0) return;
    this.#scheduled = true;
    this.#defer(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Sends what is there. */
  flush(): void {
    const count = this.#count;
    this.#count = 0;
    if (count === 0) return;
    const length = count * this.#segmentBytes;
    if (count > 1 && this.#segments) {
      if (this.#sender.send(this.#buffer, 0, length, this.#segmentBytes) >= 0) return;
      // EIO: this interface has no checksum offload, and never will have.
      this.#segments = false;
    }
    for (let at = 0; at < length; at += this.#segmentBytes) {
      if (this.#sender.send(this.#buffer, at, this.#segmentBytes) >= 0) continue;
      this.#onFail(Buffer.from(this.#buffer.subarray(at, at + this.#segmentBytes)));
    }
  }

  #begin(segmentBytes: number): void {
    this.flush();
    const segments = Math.min(SEGMENTS, Math.max(1, Math.floor(CALL_BYTES / segmentBytes)));
    this.#buffer = Buffer.alloc(segments * segmentBytes);
    this.#segmentBytes = segmentBytes;
  }
}
