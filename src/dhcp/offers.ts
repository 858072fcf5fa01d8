/** An address held for a client until it says REQUEST. */
export type Offer = {
  readonly client: string;
  readonly address: number;
  expiresMs: number;
  /** Being made durable: does not lapse. */
  committing: boolean;
};

/** RFC 2131 leaves it open; a client answers within one or two seconds, a lossy one in eight. */
export const OFFER_MS = 10_000;

/** Offers by client and by address. In RAM only: a DISCOVER must cost an attacker more than us. */
export class OfferBook {
  readonly #byClient = new Map<string, Offer>();
  readonly #byAddress = new Map<number, Offer>();

  get size(): number {
    return this.#byClient.size;
  }

  of(client: string): Offer | undefined {
    return this.#byClient.get(client);
  }

  at(address: number): Offer | undefined {
    return this.#byAddress.get(address);
  }

  /** Adds an offer; the client's earlier one must be gone. */
  add(client: string, address: number, nowMs: number): void {
    const offer = { client, address, expiresMs: nowMs + OFFER_MS, committing: false };
    this.#byClient.set(client, offer);
    this.#byAddress.set(address, offer);
  }

  remove(offer: Offer): void {
    this.#byClient.delete(offer.client);
    this.#byAddress.delete(offer.address);
  }

  /** Calls `end` for each lapsed offer. All live equally long, so the first alive is the last. */
  lapse(nowMs: number, end: (client: string) => void): void {
    for (const offer of this.#byClient.values()) {
      if (offer.committing) continue;
      if (offer.expiresMs > nowMs) return;
      end(offer.client);
    }
  }
}

/** How long a conflicting address stays out of use, and how long declines are counted. */
export const ABANDON_MS = 3_600_000;
/** Addresses one client may declare bad per ABANDON_MS: a broken one cannot empty the pool. */
export const DECLINES_PER_CLIENT = 3;
/** Clients whose declines are counted; the longest silent is forgotten. */
const DECLINERS = 1024;

/** Counts DECLINEs per client. */
export class DeclineCounter {
  readonly #clients = new Map<string, { count: number; untilMs: number }>();

  /** Counts one; false when the client has used up its share. */
  allow(client: string, nowMs: number): boolean {
    const seen = this.#clients.get(client);
    const current =
      seen !== undefined && seen.untilMs > nowMs ? seen : { count: 0, untilMs: nowMs + ABANDON_MS };
    current.count += 1;
    this.#clients.delete(client);
    this.#clients.set(client, current);
    if (this.#clients.size > DECLINERS) {
      for (const oldest of this.#clients.keys()) {
        this.#clients.delete(oldest);
        break;
      }
    }
    return current.count <= DECLINES_PER_CLIENT;
  }
}
