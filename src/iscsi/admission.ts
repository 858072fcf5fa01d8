import {
  CONNECTIONS_MAX,
  DISCOVERY_MAX,
  DISCOVERY_PER_ADDRESS_MAX,
  HALF_OPEN_MAX,
  HALF_OPEN_PER_ADDRESS_MAX,
} from './limits.ts';
import type { PortalAddress } from './policy.ts';

/** A connection as admission sees it. */
export interface Guest {
  readonly peer: PortalAddress;
  /** Ends it at once, with its socket, whatever it was doing. */
  evict(reason: string): void;
}

/** Why a connection or a discovery session is not taken; `null`: it is. */
export type Refusal =
  | 'too many connections'
  | 'too many unfinished logins from one address'
  | 'too many discovery sessions from one address';

/** Why a guest had to make room for another. */
export const ROOM_NEEDED = 'its place was needed for others';

/**
 * Who may hold a socket of ours (hostile cases 22 and 51). A socket without a session costs its
 * peer nothing, so these are bounded for each address and in all: those that have not logged in,
 * and those that we have answered and closed but whose peer lingers. Discovery sessions prove
 * nothing either and have bounds of their own.
 *
 * state     | enters by        | leaves by             | bound
 * waiting   | accept, or the   | login, or the close   | HALF_OPEN_PER_ADDRESS_MAX: refused;
 *           | session's end    | of the socket         | HALF_OPEN_MAX: the oldest of the address
 *           |                  |                       | that has most makes room (a login takes
 *           |                  |                       | milliseconds, a flood stays)
 * session   | login            | the session's end     | CONNECTIONS_MAX: refused
 * discovery | login            | the session's end     | DISCOVERY_PER_ADDRESS_MAX: refused;
 *           |                  |                       | DISCOVERY_MAX: the oldest makes room
 */
export class Admission<G extends Guest> {
  /** By address; a set keeps the order of arrival. */
  readonly #waiting = new Map<string, Set<G>>();
  readonly #discovery = new Set<G>();
  /** Accepted, and the socket is still there. */
  readonly #inside = new Set<G>();
  /** The same in the order of arrival. */
  readonly #order = new Set<G>();
  #sessions = 0;

  /** Sockets without a session. */
  get waiting(): number {
    return this.#order.size;
  }

  /** Whether a newcomer from `address` is taken; it may have cost another one its place. */
  refusalFor(address: string): Refusal | null {
    if (this.#sessions + this.#discovery.size >= CONNECTIONS_MAX) return 'too many connections';
    const own = this.#waiting.get(address)?.size ?? 0;
    if (own >= HALF_OPEN_PER_ADDRESS_MAX) return 'too many unfinished logins from one address';
    if (this.#order.size < HALF_OPEN_MAX) return null;
    const most = this.#mostWaiting();
    // Where nobody has more than others (a fresh IPv6 address for each connection), the oldest of
    // all
    // goes: honest logins are over long before it is their turn.
    const [oldest] = most.size > own + 1 ? most : this.#order;
    if (oldest !== undefined) {
      this.#forget(oldest);
      oldest.evict(ROOM_NEEDED);
    }
    return null;
  }

  /** A socket was accepted. */
  entered(guest: G): void {
    this.#inside.add(guest);
    this.#wait(guest);
  }

  /** Whether `guest` may have a discovery session; it may cost an older one its place. */
  discoveryRefusalFor(guest: G): Refusal | null {
    let same = 0;
    for (const other of this.#discovery) if (other.peer.address === guest.peer.address) same += 1;
    if (same >= DISCOVERY_PER_ADDRESS_MAX) return 'too many discovery sessions from one address';
    const [oldest] = this.#discovery;
    if (oldest !== undefined && this.#discovery.size >= DISCOVERY_MAX) {
      this.#discovery.delete(oldest);
      oldest.evict(ROOM_NEEDED);
    }
    return null;
  }

  /** It has a session now. */
  loggedIn(guest: G, kind: 'normal' | 'discovery'): void {
    this.#forget(guest);
    if (kind === 'discovery') this.#discovery.add(guest);
    else this.#sessions += 1;
  }

  /** Its session is over; the socket may be there for a while. */
  loggedOut(guest: G, kind: 'normal' | 'discovery'): void {
    if (kind === 'discovery') this.#discovery.delete(guest);
    else this.#sessions -= 1;
    if (this.#inside.has(guest)) this.#wait(guest);
  }

  /** Its socket is gone. */
  left(guest: G): void {
    this.#inside.delete(guest);
    this.#forget(guest);
  }

  #wait(guest: G): void {
    const { address } = guest.peer;
    const same = this.#waiting.get(address);
    if (same === undefined) this.#waiting.set(address, new Set([guest]));
    else same.add(guest);
    this.#order.add(guest);
  }

  #mostWaiting(): ReadonlySet<G> {
    let most: ReadonlySet<G> = new Set();
    for (const set of this.#waiting.values()) if (set.size > most.size) most = set;
    return most;
  }

  #forget(guest: G): void {
    const { address } = guest.peer;
    const same = this.#waiting.get(address);
    if (same?.delete(guest) !== true) return;
    this.#order.delete(guest);
    if (same.size === 0) this.#waiting.delete(address);
  }
}
