import { parseCidr, parseIpv4, UserError } from '#base/mod.ts';
import type { DhcpSubnet } from './config.ts';

/** Addresses of one pool: inclusive ranges of numbers, without what nobody may get. */
export class AddressPool {
  readonly #ranges: readonly { readonly first: number; readonly last: number }[];
  readonly #excluded: ReadonlySet<number>;
  /** Addresses in the pool. */
  readonly size: number;
  #range = 0;
  #next: number;

  constructor(
    ranges: readonly { readonly first: number; readonly last: number }[],
    excluded: ReadonlySet<number> = new Set(),
  ) {
    this.#ranges = ranges;
    this.#excluded = excluded;
    const inside = [...excluded].filter((a) => this.#inRanges(a)).length;
    this.size = ranges.reduce((sum, r) => sum + r.last - r.first + 1, 0) - inside;
    this.#next = ranges[0]?.first ?? 0;
  }

  /** True when the address may be given away. */
  has(address: number): boolean {
    return this.#inRanges(address) && !this.#excluded.has(address);
  }

  /** True for what no client can have, by reservation either: ours, a router's, the network's. */
  excludes(address: number): boolean {
    return this.#excluded.has(address);
  }

  /** The next address in turn, round and round; undefined for an empty pool. */
  next(): number | undefined {
    for (let tries = 0; tries <= this.#excluded.size; tries++) {
      const address = this.#step();
      if (address === undefined || !this.#excluded.has(address)) return address;
    }
    return undefined;
  }

  #step(): number | undefined {
    const range = this.#ranges[this.#range];
    if (range === undefined) return undefined;
    const address = this.#next;
    if (address < range.last) {
      this.#next = address + 1;
      return address;
    }
    this.#range = (this.#range + 1) % this.#ranges.length;
    this.#next = this.#ranges[this.#range]!.first;
    return address;
  }

  #inRanges(address: number): boolean {
    return this.#ranges.some((r) => address >= r.first && address <= r.last);
  }
}

/** A subnet's numbers. */
export type SubnetPlan = {
  readonly network: number;
  readonly mask: number;
  readonly broadcast: number;
  readonly pool: AddressPool;
};

/** A longer one has no address between the network's own and its broadcast address. */
const LONGEST_PREFIX = 30;

/**
 * Reads and checks the addresses of a subnet. The network's own address, its broadcast address, the
 * routers and the server are never in the pool. Throws UserError `invalid` naming the bad text.
 */
export function planSubnet(subnet: DhcpSubnet, serverAddress: string): SubnetPlan {
  const cidr = parseCidr(subnet.network);
  // A tunnel's /32 has no address to give away, and a proxy gives none.
  const longest = subnet.pool.length === 0 ? 32 : LONGEST_PREFIX;
  if (cidr === undefined || cidr.prefix < 1 || cidr.prefix > longest) {
    throw bad(
      `"${subnet.network}" is no subnet`,
      `write it like 10.77.0.0/24 (prefix 1 to ${longest})`,
    );
  }
  const ranges = subnet.pool.map(({ first, last }) => {
    const from = parseIpv4(first);
    const to = parseIpv4(last);
    if (from === undefined || to === undefined || from > to) {
      throw bad(`"${first} - ${last}" is no address range`, 'give the lower address first');
    }
    if (from < cidr.network || to > cidr.broadcast) {
      throw bad(`the pool ${first} - ${last} is outside ${subnet.network}`, 'keep it inside');
    }
    return { first: from, last: to };
  });
  const sorted = ranges.toSorted((a, b) => a.first - b.first);
  if (sorted.some((r, n) => n > 0 && r.first <= sorted[n - 1]!.last)) {
    throw bad(`the pools of ${subnet.network} overlap`, 'give every address once');
  }
  const taken = [serverAddress, ...(subnet.routers ?? [])].map((a) => parseIpv4(a));
  const excluded = new Set(taken.filter((a) => a !== undefined));
  excluded.add(cidr.network);
  excluded.add(cidr.broadcast);
  return {
    network: cidr.network,
    mask: cidr.mask,
    broadcast: cidr.broadcast,
    pool: new AddressPool(sorted, excluded),
  };
}

function bad(what: string, todo: string): UserError {
  return new UserError('invalid', 'dhcp-pool', { what, todo });
}
