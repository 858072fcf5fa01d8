import { DecodeError, formatIpv4 } from '#base/mod.ts';
import { type ExchangeContext, ForeignServers, type Received, who } from './context.ts';
import { AddressExchange } from './address-exchange.ts';
import { BOOT_SERVER_PORT } from './deliver.ts';
import { readFacts } from './facts.ts';
import { getU8 } from './options/basic.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import { drop, type Outcome, type PendingLease, type Send } from './outcome.ts';
import { BOOT_REPLY, BOOT_REQUEST, decodePacket, type DhcpPacket } from './packet.ts';
import { isOwnProbe } from './probe-mark.ts';
import { bootServerExchange, proxyExchange } from './proxy.ts';
import { isUsableRelay, subnetOf } from './site.ts';
import type { CommitOutcome } from './journal.ts';

/** RFC 1542 §4.1.1: a packet relayed more often is going round in circles. */
const MAXIMUM_HOPS = 16;
const NO_ADDRESS = '0.0.0.0';

/**
 * The protocol of one network, without sockets: a datagram in, an outcome out. Validate, locate,
 * decide; whoever owns the sockets sends, journals and reports back by `settle`.
 */
export class Exchange {
  readonly #context: ExchangeContext;
  readonly #addresses: AddressExchange;
  readonly #foreign = new ForeignServers();

  constructor(context: ExchangeContext) {
    this.#context = context;
    this.#addresses = new AddressExchange(context, this.#foreign);
  }

  /**
   * One datagram that arrived on `port` (67 or 4011). Never throws for bad bytes: they are an
   * outcome of kind `drop` with the reason.
   */
  receive(
    bytes: Uint8Array,
    from: { readonly address: string; readonly port: number },
    port: number,
  ): Outcome {
    let packet: DhcpPacket;
    try {
      packet = decodePacket(bytes);
    } catch (e) {
      if (e instanceof DecodeError) return drop('malformed', e.message);
      throw e;
    }
    const refusal = this.#refuse(packet);
    if (refusal !== undefined) return refusal;
    const { site } = this.#context;
    const own = site.config.hostAddresses ?? [site.serverText];
    if (isOwnProbe(packet, from.address, own)) return drop('not-for-us', 'our own search');
    const facts = readFacts(packet, site.identity, site.mtuBytes);
    if (facts.type === undefined) return drop('no-message-type');
    if (packet.hlen === 0 && facts.clientId === undefined) return drop('no-hardware-address');
    // Rule 7: firmware leaves an old address in ciaddr where it can have none yet (dnsmasq).
    const asks = packet.options.has(OPTION.requestedAddress) || facts.type === MESSAGE.discover;
    if (asks && port !== BOOT_SERVER_PORT) packet.ciaddr = 0;
    if (facts.type === MESSAGE.inform && packet.ciaddr === 0 && from.address !== NO_ADDRESS) {
      packet.ciaddr = addressNumber(from.address);
    }
    const relay = packet.giaddr === 0 ? undefined : formatIpv4(packet.giaddr);
    const received = { packet, facts, relay, from, port };
    const outcome = this.#dispatch(received);
    if (outcome.kind !== 'drop') return outcome;
    // A machine that gets no answer has a story to tell: without its name it would be nobody's.
    return { ...outcome, who: who(this.#context, received) };
  }

  /**
   * A datagram seen on the clients' port 68: another server's OFFER or ACK tells that it exists.
   */
  overheard(bytes: Uint8Array): void {
    let packet: DhcpPacket;
    try {
      packet = decodePacket(bytes);
    } catch (e) {
      if (e instanceof DecodeError) return;
      throw e;
    }
    const type = getU8(packet.options, OPTION.messageType);
    const server = packet.options.get(OPTION.serverIdentifier);
    if (packet.op !== BOOT_REPLY || packet.yiaddr === 0 || server?.length !== 4) return;
    if (type !== MESSAGE.offer && type !== MESSAGE.ack) return;
    const number = Buffer.from(server).readUInt32BE(0);
    if (number === this.#context.site.server) return;
    const mac = readFacts(packet).mac;
    this.#foreign.note(this.#context, formatIpv4(number), 'offer', { xid: packet.xid, mac });
  }

  /** The journal has answered: the ACK to send now, if any. */
  settle(pending: PendingLease, outcome: CommitOutcome): Send | undefined {
    return this.#addresses.settle(pending, outcome);
  }

  /** Other servers heard of on this network. */
  foreignServers(): string[] {
    return this.#foreign.list();
  }

  #refuse(packet: DhcpPacket): Outcome | undefined {
    if (packet.op !== BOOT_REQUEST) return drop('not-a-request');
    if (packet.hops > MAXIMUM_HOPS) return drop('relay-loop', `${packet.hops} hops`);
    if (packet.giaddr === 0) return undefined;
    const { site } = this.#context;
    if (!isUsableRelay(packet.giaddr, site.server)) return drop('bad-relay');
    return subnetOf(site, packet) === undefined ? drop('unknown-relay') : undefined;
  }

  #dispatch(received: Received): Outcome {
    const { mode } = this.#context.site.config;
    if (mode === 'off') return drop('not-for-us');
    if (received.port === BOOT_SERVER_PORT) return bootServerExchange(this.#context, received);
    if (mode === 'proxy') return proxyExchange(this.#context, received);
    return this.#addresses.receive(received);
  }
}

function addressNumber(text: string): number {
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) >>> 0;
}
