import { formatIpv4, parseIpv4 } from '#base/mod.ts';
import { type BootFields, bootFields } from './boot-fields.ts';
import { askBoot, type RealAnswer } from './boot-question.ts';
import {
  askedEvent,
  type ExchangeContext,
  type ForeignServers,
  type Received,
  replyDelayMs,
  who,
} from './context.ts';
import { destination } from './deliver.ts';
import { clientOf } from './facts.ts';
import { FirmwareMemory } from './firmware-memory.ts';
import { fitPacket } from './fit.ts';
import type { CommitOutcome } from './journal.ts';
import { recordOf } from './lease-records.ts';
import type { Applicant, Refusal, Standing } from './lease.ts';
import { getU32 } from './options/basic.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import { drop, type Outcome, type PendingLease, type Send } from './outcome.ts';
import { type DhcpPacket, encodePacket } from './packet.ts';
import type { Reservation } from './policy.ts';
import { ack, type Asked, bootpReply, informAck, nak, offer } from './reply.ts';
import { inSubnet, type SubnetSite, subnetOf } from './site.ts';

/** RFC 951: the vendor area of a BOOTP packet, which ends at byte 300. */
const BOOTP_BYTES = 300;
const FOREVER_SECONDS = 0xffffffff;

/** A request with its subnet and what is laid down for its sender. */
type Case = {
  readonly received: Received;
  readonly subnet: SubnetSite;
  readonly reservation: Reservation | undefined;
  readonly applicant: Applicant;
  readonly nowMs: number;
};

/** The DHCP server proper (RFC 2131 §4.3): addresses, and boot information along with them. */
export class AddressExchange {
  readonly #context: ExchangeContext;
  readonly #foreign: ForeignServers;
  readonly #firmware = new FirmwareMemory();

  constructor(context: ExchangeContext, foreign: ForeignServers) {
    this.#context = context;
    this.#foreign = foreign;
  }

  receive(received: Received): Outcome {
    const subnet = subnetOf(this.#context.site, received.packet);
    if (subnet === undefined) return drop('unknown-relay');
    const one = this.#caseOf(received, subnet);
    const type: number = received.facts.type ?? -1;
    switch (type) {
      case MESSAGE.discover:
        return this.#discover(one);
      case MESSAGE.request:
        return this.#request(one);
      case MESSAGE.decline:
        return this.#decline(one);
      case MESSAGE.release:
        return this.#release(one);
      case MESSAGE.inform:
        return this.#inform(one);
      case 0:
        return this.#bootp(one);
      default:
        return drop('not-a-request', `message type ${type}`);
    }
  }

  /** See Exchange.settle. */
  settle(pending: PendingLease, outcome: CommitOutcome): Send | undefined {
    const { table } = pending.subnet;
    if (outcome === 'durable') {
      table.confirm(pending.lease);
      this.#context.observer.dhcp(pending.event);
      return pending.ack;
    }
    const nowMs = this.#context.clock.monotonicMs();
    // No ACK: the client asks again, and is offered another address when this one is taken.
    if (outcome === 'conflict') table.lost(pending.lease, nowMs);
    else table.abort(pending.lease, nowMs);
    return undefined;
  }

  #caseOf(received: Received, subnet: SubnetSite): Case {
    const { site, policy, clock } = this.#context;
    const { facts, relay } = received;
    const reservation = policy.reservationFor(clientOf(facts, site.config.interface, relay));
    const fixed = reservation?.address === undefined ? undefined : parseIpv4(reservation.address);
    return {
      received,
      subnet,
      reservation,
      nowMs: clock.monotonicMs(),
      applicant: {
        client: facts.key,
        mac: facts.mac,
        hostName: reservation?.hostName ?? facts.hostName,
        known: reservation !== undefined,
        // One of another subnet cannot be used here (a machine carried over), nor can our own.
        fixed: fixed !== undefined && canFix(subnet, fixed) ? fixed : undefined,
      },
    };
  }

  #discover(one: Case): Outcome {
    const { received, subnet, applicant, nowMs } = one;
    const { packet, facts } = received;
    this.#context.observer.dhcp(askedEvent(this.#context, received, 'discover'));
    this.#firmware.discovered(packet.xid, facts);
    const wish = getU32(packet.options, OPTION.requestedAddress);
    const address = subnet.table.offer(applicant, wish, nowMs, () => this.#mayEnter(one));
    if (typeof address === 'string') return drop(address);
    const boot = this.#bootOf(one, address);
    const send = this.#leaseReply(one, MESSAGE.offer, address, boot);
    if (send === undefined) return drop('reply-too-large');
    this.#context.observer.dhcp({
      ...who(this.#context, received),
      kind: 'offer',
      address: formatIpv4(address),
      ...(boot === undefined ? {} : { boot }),
    });
    return { kind: 'send', send };
  }

  #request(one: Case): Outcome {
    const { packet } = one.received;
    const chosen = getU32(packet.options, OPTION.serverIdentifier);
    const { server } = this.#context.site;
    if (chosen !== undefined && chosen !== server) return this.#choseAnother(one, chosen);
    this.#context.observer.dhcp(askedEvent(this.#context, one.received, 'request'));
    const address = getU32(packet.options, OPTION.requestedAddress) ?? packet.ciaddr;
    if (address === 0) return drop('unknown-lease', 'no address asked for');
    if (!inSubnet(one.subnet, address)) return this.#refuse(one, address, 'wrong network');
    const standing = one.subnet.table.standing(one.applicant, address, one.nowMs);
    const selecting = chosen !== undefined;
    if (this.#mayHave(one, address, standing, selecting)) {
      // Who skips the DISCOVER meets the guards of the DISCOVER.
      const stranger = standing === 'free';
      const refusal = stranger ? this.#guard(one) : undefined;
      return refusal === undefined ? this.#grant(one, address) : drop(refusal);
    }
    const another = standing === 'taken' || standing === 'yielded';
    const provable = another || this.#hasAnother(one, address);
    if (selecting || provable) return this.#refuse(one, address, `address is ${standing}`);
    return drop('unknown-lease');
  }

  #guard(one: Case): Refusal | undefined {
    return one.subnet.table.guard(one.applicant, () => this.#mayEnter(one));
  }

  #mayEnter({ received, nowMs }: Case): boolean {
    return this.#context.site.limiter.take(received.relay ?? '', nowMs);
  }

  /** RFC 2131 §4.3.2: an offer or a lease of its own; free only when it follows our own offer. */
  #mayHave(one: Case, address: number, standing: Standing, selecting: boolean): boolean {
    const { fixed } = one.applicant;
    if (standing === 'offered' || fixed === address) return standing !== 'taken';
    const rebooting = !selecting && one.received.packet.ciaddr === 0;
    // The owner has laid down another address, or this one for somebody else. A running machine
    // keeps the old one until it reboots: its root disk hangs on it.
    if (standing === 'yielded') return !selecting && !rebooting;
    if (fixed !== undefined && rebooting) return false;
    if (standing === 'leased' || standing === 'former') return true;
    return selecting && standing === 'free';
  }

  /** True when a rebooting client remembers an address and we know that its own is another. */
  #hasAnother(one: Case, address: number): boolean {
    const own = one.subnet.table.bindingOf(one.applicant);
    return one.received.packet.ciaddr === 0 && own !== undefined && own !== address;
  }

  #choseAnother(one: Case, chosen: number): Outcome {
    one.subnet.table.withdraw(one.applicant.client);
    const { packet, facts } = one.received;
    const told = { xid: packet.xid, mac: facts.mac };
    this.#foreign.note(this.#context, formatIpv4(chosen), 'request', told);
    return drop('other-server-chosen');
  }

  #grant(one: Case, address: number): Outcome {
    const { received, subnet, applicant, nowMs } = one;
    const boot = this.#bootOf(one, address);
    const send = this.#leaseReply(one, MESSAGE.ack, address, boot);
    if (send === undefined) return drop('reply-too-large');
    const seconds = subnet.config.leaseSeconds;
    const lease = subnet.table.begin(applicant, address, seconds, nowMs);
    const record = recordOf('lease', lease, this.#context.clock);
    const event = {
      ...who(this.#context, received),
      kind: 'ack',
      address: formatIpv4(address),
      leaseSeconds: seconds,
      ...(boot === undefined ? {} : { boot }),
    } as const;
    return { kind: 'commit', pending: { subnet, lease, record, ack: send, event } };
  }

  /** NAK, but only where we alone decide; elsewhere another server may know better. */
  #refuse(one: Case, address: number, reason: string): Outcome {
    if (!one.subnet.authoritative) return drop('unknown-lease', reason);
    const { received } = one;
    const text = formatIpv4(address);
    const event = { ...who(this.#context, received), kind: 'nak', address: text, reason } as const;
    this.#context.observer.dhcp(event);
    return this.#sendOf(one, nak(this.#asked(one), reason));
  }

  #decline(one: Case): Outcome {
    const { received, subnet, applicant, nowMs } = one;
    const address = getU32(received.packet.options, OPTION.requestedAddress) ?? 0;
    if (!this.#isOurs(received.packet)) return drop('other-server-chosen');
    const result = subnet.table.decline(applicant, address, nowMs);
    if (result === undefined) return drop('unknown-lease');
    const event = { kind: 'decline', address: formatIpv4(address) } as const;
    this.#context.observer.dhcp({ ...who(this.#context, received), ...event });
    if (result === 'limit') return drop('decline-limit');
    const untilMs = subnet.table.abandoned().get(address) ?? nowMs;
    const nobody = { address, client: '', mac: '', hostName: undefined, seconds: 0 };
    const record = recordOf('abandon', { ...nobody, expiresMs: untilMs }, this.#context.clock);
    return { kind: 'record', record };
  }

  #release(one: Case): Outcome {
    const { received, subnet, applicant, nowMs } = one;
    const address = received.packet.ciaddr;
    if (!this.#isOurs(received.packet)) return drop('other-server-chosen');
    const lease = subnet.table.release(applicant.client, address);
    if (lease === undefined) return drop('unknown-lease');
    const event = { kind: 'release', address: formatIpv4(address) } as const;
    this.#context.observer.dhcp({ ...who(this.#context, received), ...event });
    const ended = { ...lease, expiresMs: nowMs };
    return { kind: 'record', record: recordOf('release', ended, this.#context.clock) };
  }

  #inform(one: Case): Outcome {
    const { received } = one;
    this.#context.observer.dhcp(askedEvent(this.#context, received, 'inform'));
    if (received.packet.ciaddr === 0) return drop('unknown-lease', 'INFORM without an address');
    const boot = this.#bootOf(one, received.packet.ciaddr);
    const reply = informAck(this.#asked(one), this.#fields(one, boot));
    // RFC 2131 §4.3.5: to the client's own address, also when a relay brought it.
    return this.#sendOf(one, reply, { ...received.packet, giaddr: 0 });
  }

  /** BOOTP (no message type): only machines with a fixed address, since its leases never end. */
  #bootp(one: Case): Outcome {
    const { applicant, received } = one;
    if (applicant.fixed === undefined) return drop('no-message-type');
    const boot = this.#bootOf(one, applicant.fixed);
    const hostName = one.reservation?.hostName;
    const grant = { address: applicant.fixed, seconds: FOREVER_SECONDS, hostName };
    const reply = bootpReply(this.#asked(one), grant, this.#fields(one, boot));
    if (fitPacket(reply, BOOTP_BYTES) === undefined) return drop('reply-too-large');
    const address = formatIpv4(applicant.fixed);
    this.#context.observer.dhcp({
      ...who(this.#context, received),
      kind: 'ack',
      address,
      leaseSeconds: FOREVER_SECONDS,
      ...(boot === undefined ? {} : { boot }),
    });
    return this.#sendOf(one, reply);
  }

  #isOurs(packet: DhcpPacket): boolean {
    const chosen = getU32(packet.options, OPTION.serverIdentifier);
    return chosen === undefined || chosen === this.#context.site.server;
  }

  #bootOf(one: Case, address: number): RealAnswer | undefined {
    const { packet, relay, facts } = one.received;
    const complete = this.#firmware.completed(packet.xid, facts);
    const place = { site: this.#context.site, viaProxy: false, clientAddress: address, relay };
    const answer = askBoot(this.#context.policy, complete, place);
    if (answer === 'unknown-architecture') {
      const event = {
        kind: 'dropped',
        reason: answer,
        detail: `option 93 = ${complete.arch}`,
      } as const;
      this.#context.observer.dhcp({ ...who(this.#context, one.received), ...event });
    }
    return typeof answer === 'string' ? undefined : answer;
  }

  #fields(one: Case, answer: RealAnswer | undefined): BootFields | undefined {
    if (answer === undefined) return undefined;
    const { packet, facts } = one.received;
    const { site } = this.#context;
    return bootFields({
      answer,
      facts: this.#firmware.completed(packet.xid, facts),
      server: site.server,
      serverText: site.serverText,
      realServer: true,
      school: 'direct',
      bootServer: false,
    });
  }

  #asked(one: Case): Asked {
    return {
      packet: one.received.packet,
      facts: one.received.facts,
      server: this.#context.site.server,
      subnetOptions: one.subnet.options,
    };
  }

  #leaseReply(
    one: Case,
    type: typeof MESSAGE.offer | typeof MESSAGE.ack,
    address: number,
    boot: RealAnswer | undefined,
  ): Send | undefined {
    const asked = this.#asked(one);
    const { subnet } = one;
    const seconds = subnet.config.leaseSeconds;
    const hostName = one.reservation?.hostName;
    const grant = { address, seconds, hostName };
    const make = type === MESSAGE.offer ? offer : ack;
    const to = { to: this.#to(one, address), delayMs: this.#delayMs(one) };
    if (boot === undefined) {
      const kind = { type, seconds, hostName };
      const bytes = subnet.prepared.encode(asked, kind, address, () => make(asked, grant));
      if (bytes !== undefined) return { bytes, ...to };
    }
    const reply = make(asked, grant, this.#fields(one, boot));
    if (fitPacket(reply, asked.facts.limitBytes) === undefined) return undefined;
    return { bytes: encodePacket(reply), ...to };
  }

  #to(one: Case, address: number): Send['to'] {
    return destination(one.received.packet, { yiaddr: address, type: MESSAGE.ack });
  }

  #sendOf(one: Case, reply: DhcpPacket, request = one.received.packet): Outcome {
    if (fitPacket(reply, one.received.facts.limitBytes) === undefined) {
      return drop('reply-too-large');
    }
    const type = reply.options.get(OPTION.messageType)?.[0] ?? 0;
    const to = destination(request, { yiaddr: reply.yiaddr, type });
    return { kind: 'send', send: { bytes: encodePacket(reply), to, delayMs: this.#delayMs(one) } };
  }

  #delayMs({ reservation }: Case): number {
    return replyDelayMs(this.#context, reservation);
  }
}

function canFix(subnet: SubnetSite, address: number): boolean {
  return inSubnet(subnet, address) && !subnet.plan.pool.excludes(address);
}
