import { ActiveLeases } from './active-leases.ts';
import { ABANDON_MS, DeclineCounter, OfferBook, OFFER_MS } from './offers.ts';
import type { AddressPool } from './pool.ts';
import type { Applicant, Lease, Refusal, Standing } from './lease.ts';

/** Offers at once: the whole of a small pool, a quarter of a large one, 65,536 × ~150 B = 10 MB. */
const OFFERS_SMALL_POOL = 256;
const OFFERS_MAXIMUM = 65_536;
/** Addresses that strangers leave for known machines: an eighth of the pool, at most 16. */
const HEADROOM_MAXIMUM = 16;
/** Addresses looked at per request, so that a full pool costs a bounded time (about 0.2 ms). */
const SCAN_STEPS = 4096;
/** Free addresses chosen ahead of time, for the conflict probe. */
const AHEAD = 32;

/**
 * Who has which address of one subnet. Pure: the monotonic clock comes in with every call, and what
 * must be durable is handed out for the journal, not written here.
 *
 * | an address is | recorded in | becomes |
 * |---|---|---|
 * | free | nowhere | offered |
 * | offered | `#offers` (RAM, 10 s) | leased by `confirm`, free when it lapses |
 * | leased | `#active` | reusable by expiry or RELEASE, abandoned by DECLINE or conflict |
 * | reusable | `#reusable`, still under its client's name | leased again, or the next stranger's |
 * | abandoned | `#abandoned` (an hour) | free |
 *
 * An address that is being committed is an offer that cannot lapse.
 */
export class LeaseTable {
  readonly #pool: AddressPool;
  readonly #isReserved: (address: number) => boolean;
  readonly #leases = new Map<number, Lease>();
  readonly #byClient = new Map<string, Lease>();
  readonly #active = new ActiveLeases();
  readonly #reusable = new Map<number, Lease>();
  readonly #abandoned = new Map<number, number>();
  readonly #offers = new OfferBook();
  readonly #declines = new DeclineCounter();
  readonly #maximumOffers: number;
  readonly #headroom: number;
  #ahead: number[] = [];
  /** Pool addresses with an offer, a lease record or abandoned. */
  #recorded = 0;
  /** Those of them that a stranger cannot have now. */
  #occupied = 0;

  constructor(pool: AddressPool, isReserved: (address: number) => boolean = () => false) {
    this.#pool = pool;
    this.#isReserved = isReserved;
    const quarter = Math.ceil(pool.size / 4);
    this.#maximumOffers = Math.min(OFFERS_MAXIMUM, Math.max(OFFERS_SMALL_POOL, quarter));
    this.#headroom = Math.min(HEADROOM_MAXIMUM, Math.floor(pool.size / 8));
  }

  /**
   * An address for a DISCOVER, held for OFFER_MS. The client's own comes first (offer, fixed,
   * lease, earlier lease), then what it asked for, then a fresh one, then the longest unused.
   * `mayEnter` is asked only when a stranger would take an address that was not its own.
   */
  offer(
    who: Applicant,
    requested: number | undefined,
    nowMs: number,
    mayEnter: () => boolean = () => true,
  ): number | Refusal {
    this.sweep(nowMs);
    const own = this.#ownAddress(who);
    if (own !== undefined) return this.#hold(who.client, own, nowMs);
    const refusal = this.guard(who, mayEnter);
    if (refusal !== undefined) return refusal;
    const wish = requested !== undefined && this.#isFree(requested) ? requested : undefined;
    const address = wish ?? this.#fresh() ?? this.#oldestReusable();
    if (address === undefined) return 'no-free-address';
    return this.#hold(who.client, address, nowMs);
  }

  /** Why a stranger may not have an address that was not its own; undefined: it may. */
  guard(who: Applicant, mayEnter: () => boolean): Refusal | undefined {
    if (who.known) return undefined;
    if (this.#offers.size >= this.#maximumOffers) return 'too-many-offers';
    if (this.#pool.size - this.#occupied <= this.#headroom) return 'no-free-address';
    return mayEnter() ? undefined : 'rate-limited';
  }

  /** How `address` stands towards the client, for the decision on a REQUEST. */
  standing(who: Applicant, address: number, nowMs: number): Standing {
    this.sweep(nowMs);
    if (this.#offers.of(who.client)?.address === address) return 'offered';
    const lease = this.#leases.get(address);
    if (lease?.client === who.client && !this.#abandoned.has(address)) {
      const active = this.#active.has(address);
      if (this.#foreignReserved(who, address)) return active ? 'yielded' : 'taken';
      return active ? 'leased' : 'former';
    }
    if (this.#active.has(address) || this.#offers.at(address) !== undefined) return 'taken';
    if (this.#foreignReserved(who, address)) return 'taken';
    if (who.fixed === address) return 'free';
    if (!this.#pool.has(address)) return 'outside';
    return this.#abandoned.has(address) ? 'taken' : 'free';
  }

  /** The address that the client holds, was offered, or is fixed to; undefined for a stranger. */
  bindingOf(who: Applicant): number | undefined {
    return who.fixed ?? this.#offers.of(who.client)?.address ?? this.#leaseOf(who)?.address;
  }

  /**
   * Prepares a lease for the journal and keeps its address from others meanwhile. End it with
   * `confirm` or `abort`. The caller has checked `standing`.
   */
  begin(who: Applicant, address: number, seconds: number, nowMs: number): Lease {
    this.#hold(who.client, address, nowMs);
    this.#offers.of(who.client)!.committing = true;
    return {
      address,
      client: who.client,
      mac: who.mac,
      hostName: who.hostName,
      seconds,
      expiresMs: nowMs + seconds * 1000,
    };
  }

  /** The lease is durable: it counts from now on. */
  confirm(lease: Lease): void {
    this.#dropOffer(lease.client);
    this.#put(lease);
  }

  /** The lease could not be made durable: back to a plain offer. */
  abort(lease: Lease, nowMs: number): void {
    const offer = this.#offers.of(lease.client);
    if (offer === undefined) return;
    offer.committing = false;
    offer.expiresMs = nowMs + OFFER_MS;
  }

  /** Another server has the address, by the shared store's word: never offered again by us. */
  lost(lease: Lease, nowMs: number): void {
    this.#dropOffer(lease.client);
    this.#abandon(lease.address, nowMs + ABANDON_MS);
  }

  /** The client chose another server's offer. True when there was one of ours. */
  withdraw(client: string): boolean {
    const offer = this.#offers.of(client);
    if (offer === undefined || offer.committing) return false;
    this.#dropOffer(client);
    return true;
  }

  /** RELEASE: true when it was the client's to release. The address stays its own if it returns. */
  release(client: string, address: number): Lease | undefined {
    const lease = this.#active.get(address);
    if (lease?.client !== client) return undefined;
    this.#retire(lease);
    return lease;
  }

  /**
   * DECLINE: the client found its address in use. `limit` means that it has said so too often and
   * the address is only released; undefined that it was not the client's.
   */
  decline(who: Applicant, address: number, nowMs: number): 'abandoned' | 'limit' | undefined {
    const mine =
      this.#active.get(address)?.client === who.client ||
      this.#offers.of(who.client)?.address === address;
    if (!mine) return undefined;
    this.#dropOffer(who.client);
    if (!this.#declines.allow(who.client, nowMs) || !this.#pool.has(address)) {
      const lease = this.#active.get(address);
      if (lease !== undefined) this.#retire(lease);
      return 'limit';
    }
    this.#abandon(address, nowMs + ABANDON_MS);
    return 'abandoned';
  }

  /** A probe found the address in use. An active lease is its user, so it is left alone. */
  conflict(address: number, nowMs: number): boolean {
    if (this.#active.has(address) || !this.#pool.has(address)) return false;
    const offer = this.#offers.at(address);
    if (offer !== undefined) this.#dropOffer(offer.client);
    this.#abandon(address, nowMs + ABANDON_MS);
    return true;
  }

  /** The addresses that strangers get next, for a probe ahead of time. */
  upcoming(): readonly number[] {
    this.#fillAhead();
    return this.#ahead;
  }

  /** Puts back a lease from the journal. Call in order of expiry; an expired one stays reusable. */
  restore(lease: Lease, nowMs: number): void {
    this.#put(lease);
    if (lease.expiresMs <= nowMs) this.#retire(lease);
  }

  /** Puts back an abandoned address from the journal. */
  restoreAbandoned(address: number, untilMs: number): void {
    this.#abandon(address, untilMs);
  }

  /** All leases, the active first, then those that ended and still name their client. */
  *leases(): Generator<Lease & { readonly active: boolean }> {
    for (const lease of this.#active.values()) yield { ...lease, active: true };
    for (const lease of this.#reusable.values()) yield { ...lease, active: false };
  }

  /** Abandoned addresses with the monotonic time at which they come back. */
  abandoned(): ReadonlyMap<number, number> {
    return this.#abandoned;
  }

  /** Figures for status displays and tests. */
  counts(): { size: number; offered: number; active: number; reusable: number; abandoned: number } {
    return {
      size: this.#pool.size,
      offered: this.#offers.size,
      active: this.#active.size,
      reusable: this.#reusable.size,
      abandoned: this.#abandoned.size,
    };
  }

  /** Lets offers lapse, leases expire and abandoned addresses return. Cheap when nothing is due. */
  sweep(nowMs: number): void {
    this.#offers.lapse(nowMs, (client) => {
      this.#dropOffer(client);
    });
    for (const lease of this.#active.ended(nowMs)) this.#retire(lease);
    for (const [address, untilMs] of this.#abandoned) {
      if (untilMs > nowMs) break;
      this.#track(address, () => this.#abandoned.delete(address));
    }
  }

  #ownAddress(who: Applicant): number | undefined {
    const offered = this.#offers.of(who.client);
    if (who.fixed !== undefined && this.#availableTo(who, who.fixed)) return who.fixed;
    if (offered !== undefined && !this.#foreignReserved(who, offered.address)) {
      return offered.address;
    }
    const lease = this.#leaseOf(who);
    if (lease === undefined || !this.#availableTo(who, lease.address)) return undefined;
    return this.#foreignReserved(who, lease.address) ? undefined : lease.address;
  }

  #leaseOf(who: Applicant): Lease | undefined {
    const lease = this.#byClient.get(who.client);
    return lease !== undefined && this.#leases.get(lease.address) === lease ? lease : undefined;
  }

  /** Nobody else holds it. */
  #availableTo(who: Applicant, address: number): boolean {
    const holder = this.#active.get(address)?.client ?? this.#offers.at(address)?.client;
    return (holder === undefined || holder === who.client) && !this.#abandoned.has(address);
  }

  /** It is laid down for another machine. */
  #foreignReserved(who: Applicant, address: number): boolean {
    return who.fixed !== address && this.#isReserved(address);
  }

  #isFree(address: number): boolean {
    return (
      this.#pool.has(address) &&
      !this.#leases.has(address) &&
      this.#offers.at(address) === undefined &&
      !this.#abandoned.has(address) &&
      !this.#isReserved(address)
    );
  }

  #fresh(): number | undefined {
    this.#fillAhead();
    for (;;) {
      const address = this.#ahead.shift();
      if (address === undefined || this.#isFree(address)) return address;
    }
  }

  #fillAhead(): void {
    if (this.#ahead.length > AHEAD / 2 || this.#recorded >= this.#pool.size) return;
    const chosen = new Set(this.#ahead);
    for (let step = 0; step < SCAN_STEPS && chosen.size < AHEAD; step++) {
      const address = this.#pool.next();
      if (address === undefined) return;
      if (this.#isFree(address)) chosen.add(address);
    }
    this.#ahead = [...chosen];
  }

  #oldestReusable(): number | undefined {
    let steps = 0;
    for (const address of this.#reusable.keys()) {
      const free = this.#offers.at(address) === undefined && !this.#isReserved(address);
      if (free && this.#pool.has(address)) return address;
      steps += 1;
      if (steps === SCAN_STEPS) break;
    }
    return undefined;
  }

  #hold(client: string, address: number, nowMs: number): number {
    const earlier = this.#offers.of(client);
    if (earlier?.address === address && earlier.committing) return address;
    if (earlier !== undefined) this.#dropOffer(client);
    this.#track(address, () => {
      this.#offers.add(client, address, nowMs);
    });
    return address;
  }

  #dropOffer(client: string): void {
    const offer = this.#offers.of(client);
    if (offer === undefined) return;
    this.#track(offer.address, () => {
      this.#offers.remove(offer);
    });
  }

  #put(lease: Lease): void {
    const { address, client } = lease;
    const earlier = this.#byClient.get(client);
    if (earlier !== undefined && earlier.address !== address) this.#forget(earlier);
    const previous = this.#leases.get(address);
    if (previous !== undefined && previous.client !== client)
      this.#byClient.delete(previous.client);
    this.#track(address, () => {
      this.#leases.set(address, lease);
      this.#byClient.set(client, lease);
      this.#reusable.delete(address);
      this.#abandoned.delete(address);
      this.#active.set(lease);
    });
  }

  #retire(lease: Lease): void {
    this.#track(lease.address, () => {
      this.#active.delete(lease.address);
      this.#reusable.set(lease.address, lease);
    });
  }

  #forget(lease: Lease): void {
    this.#track(lease.address, () => {
      this.#active.delete(lease.address);
      this.#reusable.delete(lease.address);
      this.#leases.delete(lease.address);
      if (this.#byClient.get(lease.client) === lease) this.#byClient.delete(lease.client);
    });
  }

  #abandon(address: number, untilMs: number): void {
    const lease = this.#leases.get(address);
    if (lease !== undefined) this.#forget(lease);
    this.#ahead = this.#ahead.filter((a) => a !== address);
    this.#track(address, () => {
      this.#abandoned.delete(address);
      this.#abandoned.set(address, untilMs);
    });
  }

  /** Runs a change of one address's records and keeps the two pool counters right. */
  #track(address: number, change: () => void): void {
    if (!this.#pool.has(address)) {
      change();
      return;
    }
    const recorded = this.#isRecorded(address);
    const occupied = this.#isOccupied(address);
    change();
    this.#recorded += Number(this.#isRecorded(address)) - Number(recorded);
    this.#occupied += Number(this.#isOccupied(address)) - Number(occupied);
  }

  #isRecorded(address: number): boolean {
    return (
      this.#leases.has(address) ||
      this.#offers.at(address) !== undefined ||
      this.#abandoned.has(address)
    );
  }

  #isOccupied(address: number): boolean {
    return (
      this.#active.has(address) ||
      this.#offers.at(address) !== undefined ||
      this.#abandoned.has(address)
    );
  }
}
