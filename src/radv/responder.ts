import { DecodeError } from '#base/mod.ts';
import { decodeSolicitation, encodeAdvertisement } from './codec.ts';

/** RFC 4861 §6.2.6 and §10: multicast advertisements are at least this far apart. */
const MULTICAST_INTERVAL_MS = 3000;
/** Unicast answers per second: a hall of machines, and no flood for a flood. */
const UNICAST_PER_SECOND = 200;
const ALL_NODES = 'ff02::1';

/** What to send for one solicitation, or why nothing. */
export type Advice =
  | { readonly kind: 'send'; readonly to: string; readonly bytes: Buffer }
  | { readonly kind: 'drop'; readonly reason: 'malformed' | 'not-local' | 'too-many' };

/**
 * Decides on solicitations. Debian's iPXE of 2019 waits 15.8 s for any advertisement before it
 * boots over IPv4; one of router lifetime 0 without prefixes and without the flags that would start
 * DHCPv6 ends the wait, and gives no host a route or an address.
 */
export class RouterResponder {
  readonly #bytes = encodeAdvertisement();
  #multicastAtMs = Number.NEGATIVE_INFINITY;
  #windowAtMs = Number.NEGATIVE_INFINITY;
  #inWindow = 0;

  /** One ICMPv6 message from `from` (with or without a zone) at monotonic `nowMs`. */
  receive(bytes: Uint8Array, from: string, nowMs: number): Advice {
    const source = from.split('%')[0] ?? '';
    const unspecified = source === '::';
    // Hop limit 255 proves that no router forwarded it (§6.1.1). The socket does not show us the
    // hop limit; a link-local or unspecified source proves the same, since neither is forwarded.
    if (!unspecified && !isLinkLocal(source)) return { kind: 'drop', reason: 'not-local' };
    try {
      const { linkLayer } = decodeSolicitation(bytes);
      if (unspecified && linkLayer !== undefined) return { kind: 'drop', reason: 'malformed' };
    } catch (e) {
      if (e instanceof DecodeError) return { kind: 'drop', reason: 'malformed' };
      throw e;
    }
    return unspecified ? this.#toAll(nowMs) : this.#toOne(from, nowMs);
  }

  #toAll(nowMs: number): Advice {
    if (nowMs - this.#multicastAtMs < MULTICAST_INTERVAL_MS) {
      return { kind: 'drop', reason: 'too-many' };
    }
    this.#multicastAtMs = nowMs;
    return { kind: 'send', to: ALL_NODES, bytes: this.#bytes };
  }

  #toOne(to: string, nowMs: number): Advice {
    if (nowMs - this.#windowAtMs >= 1000) {
      this.#windowAtMs = nowMs;
      this.#inWindow = 0;
    }
    if (this.#inWindow >= UNICAST_PER_SECOND) return { kind: 'drop', reason: 'too-many' };
    this.#inWindow += 1;
    return { kind: 'send', to, bytes: this.#bytes };
  }
}

/** fe80::/10. */
function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address);
}
