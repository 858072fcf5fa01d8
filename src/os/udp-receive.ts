import ipaddr from 'ipaddr.js';
import { formatIpv4 } from '#base/mod.ts';
import { addressOf, bindCall, lastErrno } from './libc.ts';
import { AF_INET } from './socket-address.ts';

const MSG_DONTWAIT = 0x40;
/** sockaddr_in6, the longest of ours. */
const NAME_BYTES = 28;

const recvfrom = bindCall(
  'intptr_t recvfrom(int fd, uintptr_t into, size_t most, int flags, uintptr_t name, uintptr_t size)',
);

/** Takes single datagrams straight from the kernel, into memory that it owns and reuses. */
export class DatagramInbox {
  /** Where the last datagram lies. */
  readonly bytes: Buffer;
  readonly #address: number;
  readonly #name = new Uint8Array(NAME_BYTES);
  readonly #nameAddress: number;
  readonly #size = new Uint32Array(1);
  readonly #sizeAddress: number;

  /** `capacityBytes`: longer datagrams are cut. */
  constructor(capacityBytes: number) {
    this.bytes = Buffer.alloc(capacityBytes);
    this.#address = addressOf(this.bytes);
    this.#nameAddress = addressOf(this.#name);
    this.#sizeAddress = addressOf(this.#size);
  }

  /** Takes one datagram: its length, or a negative errno (-EAGAIN: there is none). */
  receive(fd: number): number {
    this.#size[0] = NAME_BYTES;
    const [name, size] = [this.#nameAddress, this.#sizeAddress];
    const got = recvfrom()(fd, this.#address, this.bytes.length, MSG_DONTWAIT, name, size);
    return got >= 0 ? got : -lastErrno();
  }

  /** Whether the last datagram came from that kernel address (see `socketAddress`). */
  isFrom(name: Uint8Array): boolean {
    const own = this.#name;
    // Family, port and address; not the flow label of IPv6 nor what pads IPv4.
    const [from, to] = name.length === NAME_BYTES ? [8, 24] : [4, 8];
    for (let n = 0; n < 4; n++) if (own[n] !== name[n]) return false;
    for (let n = from; n < to; n++) if (own[n] !== name[n]) return false;
    return true;
  }

  /** Where the last datagram came from; link-local addresses without their zone. */
  from(): { address: string; port: number } {
    const view = new DataView(this.#name.buffer);
    const port = view.getUint16(2);
    if (view.getUint16(0, true) === AF_INET)
      return { address: formatIpv4(view.getUint32(4)), port };
    return { address: ipaddr.fromByteArray([...this.#name.subarray(8, 24)]).toString(), port };
  }
}
