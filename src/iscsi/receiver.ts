import { crc32c } from '#base/mod.ts';
import { AHS_BYTES_MAX, AT_LENGTHS, BHS_BYTES, DIGEST_BYTES, paddingBytes } from './pdu/mod.ts';

/** Why a byte stream cannot be followed any further, or one PDU of it cannot be used. */
export type ReceiveFault = 'segment-too-long' | 'header-digest' | 'data-digest';

/** Takes PDUs apart while they arrive. */
export interface PduSink {
  /**
   * A header is at `bytes[at…]`, its `ahsBytes` of additional headers behind it. The memory is only
   * good for this call. `dataBytes` of data follow by `data`, then comes `end`.
   */
  header(view: DataView, bytes: Uint8Array, at: number, ahsBytes: number, dataBytes: number): void;
  /** A piece of the data segment, in order. The memory is only good for this call. */
  data(bytes: Uint8Array, at: number, lengthBytes: number): void;
  /** The PDU is complete. */
  end(): void;
  /** `data-digest`: this PDU's data is bad, `end` will not come. The others: the stream is over. */
  fault(fault: ReceiveFault): void;
}

const HEAD_BYTES_MAX = BHS_BYTES + AHS_BYTES_MAX + DIGEST_BYTES;

/**
 * Finds PDUs in a byte stream (RFC 7143 §11.1), however it is cut. A header that arrived whole is
 * handed on where it lies; data is handed on as it arrives, except under a data digest, where the
 * segment is checked before anybody sees it.
 */
export class Receiver {
  headerDigest = false;
  dataDigest = false;
  /** Longest data segment accepted. */
  segmentBytesMax: number;
  /** Who gets the PDUs; may change between two of them. */
  sink: PduSink;
  #state: 'header' | 'data' | 'gather' | 'padding' | 'stopped' = 'header';
  readonly #head = new Uint8Array(HEAD_BYTES_MAX);
  readonly #headView = new DataView(this.#head.buffer);
  #headBytes = 0;
  #dataBytes = 0;
  #leftBytes = 0;
  #segment: Uint8Array | null = null;

  constructor(sink: PduSink, segmentBytesMax: number) {
    this.sink = sink;
    this.segmentBytesMax = segmentBytesMax;
  }

  /** Takes no more bytes. May be called by the sink. */
  stop(): void {
    this.#state = 'stopped';
  }

  /** Takes `bytes[at…end)`; `view` covers the same memory. */
  receive(bytes: Uint8Array, view: DataView, at: number, end: number): void {
    while (at < end) {
      switch (this.#state) {
        case 'header':
          at = this.#header(bytes, view, at, end);
          break;
        case 'data':
          at = this.#data(bytes, at, end);
          break;
        case 'gather':
          at = this.#gather(bytes, at, end);
          break;
        case 'padding':
          at = this.#padding(at, end);
          break;
        case 'stopped':
          return;
      }
    }
  }

  #header(bytes: Uint8Array, view: DataView, at: number, end: number): number {
    if (this.#headBytes === 0 && end - at >= BHS_BYTES) {
      const need = this.#needBytes(view, at);
      if (end - at >= need) {
        this.#begin(view, bytes, at);
        return at + need;
      }
    }
    return this.#collectHeader(bytes, at, end);
  }

  #needBytes(view: DataView, at: number): number {
    const ahsBytes = view.getUint8(at + AT_LENGTHS) * 4;
    return BHS_BYTES + ahsBytes + (this.headerDigest ? DIGEST_BYTES : 0);
  }

  #collectHeader(bytes: Uint8Array, at: number, end: number): number {
    while (at < end) {
      const known = this.#headBytes >= BHS_BYTES;
      const need = known ? this.#needBytes(this.#headView, 0) : BHS_BYTES;
      const take = Math.min(need - this.#headBytes, end - at);
      this.#head.set(bytes.subarray(at, at + take), this.#headBytes);
      this.#headBytes += take;
      at += take;
      if (this.#headBytes >= BHS_BYTES && this.#headBytes === this.#needBytes(this.#headView, 0)) {
        this.#headBytes = 0;
        this.#begin(this.#headView, this.#head, 0);
        return at;
      }
    }
    return at;
  }

  #begin(view: DataView, bytes: Uint8Array, at: number): void {
    const word = view.getUint32(at + AT_LENGTHS);
    const ahsBytes = (word >>> 24) * 4;
    const dataBytes = word & 0xffffff;
    const headEnd = at + BHS_BYTES + ahsBytes;
    if (this.headerDigest) {
      const sum = view.getUint32(headEnd, true);
      if (sum !== crc32c(bytes, at, headEnd - at)) {
        this.#stopWith('header-digest');
        return;
      }
    }
    if (dataBytes > this.segmentBytesMax) {
      this.#stopWith('segment-too-long');
      return;
    }
    this.#dataBytes = dataBytes;
    this.#leftBytes = dataBytes;
    // The digests of this PDU: its own `end` may change them for the next (login).
    const gather = this.dataDigest && dataBytes > 0;
    if (dataBytes > 0) this.#state = gather ? 'gather' : 'data';
    if (gather) this.#leftBytes += paddingBytes(dataBytes) + DIGEST_BYTES;
    this.sink.header(view, bytes, at, ahsBytes, dataBytes);
    if (dataBytes === 0 && this.#state === 'header') this.sink.end();
  }

  #data(bytes: Uint8Array, at: number, end: number): number {
    const take = Math.min(this.#leftBytes, end - at);
    this.#leftBytes -= take;
    if (this.#leftBytes === 0) {
      this.#leftBytes = paddingBytes(this.#dataBytes);
      this.#state = this.#leftBytes > 0 ? 'padding' : 'header';
      this.sink.data(bytes, at, take);
      if (this.#state === 'header') this.sink.end();
    } else {
      this.sink.data(bytes, at, take);
    }
    return at + take;
  }

  #padding(at: number, end: number): number {
    const take = Math.min(this.#leftBytes, end - at);
    this.#leftBytes -= take;
    if (this.#leftBytes === 0) {
      this.#state = 'header';
      this.sink.end();
    }
    return at + take;
  }

  #gather(bytes: Uint8Array, at: number, end: number): number {
    const total = this.#dataBytes + paddingBytes(this.#dataBytes) + DIGEST_BYTES;
    if (this.#leftBytes === total && end - at >= total) {
      this.#state = 'header';
      this.#verified(bytes, at);
      return at + total;
    }
    let segment = this.#segment;
    if (segment === null || segment.length < total) {
      segment = Buffer.allocUnsafeSlow(total);
      this.#segment = segment;
    }
    const take = Math.min(this.#leftBytes, end - at);
    segment.set(bytes.subarray(at, at + take), total - this.#leftBytes);
    this.#leftBytes -= take;
    if (this.#leftBytes === 0) {
      this.#state = 'header';
      this.#verified(segment, 0);
    }
    return at + take;
  }

  #verified(bytes: Uint8Array, at: number): void {
    const covered = this.#dataBytes + paddingBytes(this.#dataBytes);
    const sumAt = at + covered;
    const sum =
      (bytes[sumAt]! |
        (bytes[sumAt + 1]! << 8) |
        (bytes[sumAt + 2]! << 16) |
        (bytes[sumAt + 3]! << 24)) >>>
      0;
    if (sum !== crc32c(bytes, at, covered)) {
      this.sink.fault('data-digest');
      return;
    }
    this.sink.data(bytes, at, this.#dataBytes);
    if (this.#state === 'header') this.sink.end();
  }

  #stopWith(fault: ReceiveFault): void {
    this.#state = 'stopped';
    this.sink.fault(fault);
  }
}
