/** Addresses remembered; a /16 of machines is beyond one boot server. */
const ADDRESSES_MAX = 8192;

/**
 * Who is behind an address: learnt from the leases we gave, else asked of the kernel's neighbour
 * table (in proxy mode another server gives the addresses).
 */
export class AddressBook {
  readonly #macs = new Map<string, string>();
  readonly #neighbour: (address: string) => string | undefined;

  /** `neighbour` answers from the kernel's table, or undefined. */
  constructor(neighbour: (address: string) => string | undefined) {
    this.#neighbour = neighbour;
  }

  /** `address` was given to `mac`. */
  learn(address: string, mac: string): void {
    this.#macs.delete(address);
    this.#macs.set(address, mac);
    if (this.#macs.size <= ADDRESSES_MAX) return;
    const oldest = this.#macs.keys().next().value;
    if (oldest !== undefined) this.#macs.delete(oldest);
  }

  /**
   * The MAC behind an address. The kernel's answer comes first: it is what the packets really came
   * from, while a lease may have been given up.
   */
  macOf(address: string): string | undefined {
    const plain = plainAddress(address);
    return this.#neighbour(plain) ?? this.#macs.get(plain);
  }

  /** Only what the kernel saw on the wire: good enough to hand out a secret. */
  neighbourOf(address: string): string | undefined {
    return this.#neighbour(plainAddress(address));
  }
}

/** `::ffff:10.0.0.1` (IPv4 on a dual-stack socket) → `10.0.0.1`. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:/, '');
}
