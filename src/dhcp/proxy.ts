import { bootFields, isUefi } from './boot-fields.ts';
import { askBoot, type RealAnswer } from './boot-question.ts';
import { askedEvent, type ExchangeContext, type Received, replyDelayMs, who } from './context.ts';
import { BOOT_SERVER_PORT, bootServerDestination, destination } from './deliver.ts';
import { fitPacket } from './fit.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import { decodePxe, PXE } from './options/pxe.ts';
import { drop, type Outcome } from './outcome.ts';
import { type DhcpPacket, encodePacket } from './packet.ts';
import { type Asked, bootServerReply, proxyOffer } from './reply.ts';

/**
 * proxyDHCP: boot information beside another server's addresses (PXE 2.1 §2.2, boot facts 3).
 * Never gives an address. Port 4011 is served here in both modes.
 */

const NO_SUBNET: ReadonlyMap<number, Uint8Array> = new Map();

/** A packet on port 67 while another server gives the addresses. */
export function proxyExchange(context: ExchangeContext, received: Received): Outcome {
  const { type } = received.facts;
  if (received.facts.stage === 'none') return drop('not-for-us');
  if (type === MESSAGE.inform) return bootServerExchange(context, received);
  // The REQUEST on port 67 is for the server that gave the address.
  if (type !== MESSAGE.discover) return drop('not-for-us');
  context.observer.dhcp(askedEvent(context, received, 'discover'));
  const answer = question(context, received, true);
  if (typeof answer === 'string') return drop(answer);
  const { facts, packet } = received;
  const uefi = isUefi(facts);
  const firmware = facts.stage === 'firmware';
  const nowMs = context.clock.monotonicMs();
  const school = firmware ? context.schools.choose(facts.mac, uefi, packet.xid, nowMs) : 'direct';
  const reply = proxyOffer(
    asked(context, received),
    bootFields({
      answer,
      facts,
      server: context.site.server,
      serverText: context.site.serverText,
      realServer: false,
      school,
      bootServer: false,
    }),
  );
  const arch = facts.arch === undefined ? {} : { arch: facts.arch };
  const event = { ...who(context, received), kind: 'proxy-offer', boot: answer, school } as const;
  return finish(context, received, reply, { ...event, ...arch });
}

/** A packet on port 4011, or an INFORM of a PXE client: always answered with the file's name. */
export function bootServerExchange(context: ExchangeContext, received: Received): Outcome {
  const { facts, packet } = received;
  const { type } = facts;
  const known = type === MESSAGE.discover || type === MESSAGE.request || type === MESSAGE.inform;
  if (!known || facts.stage === 'none') return drop('not-for-us');
  const kind =
    type === MESSAGE.inform ? 'inform' : type === MESSAGE.discover ? 'discover' : 'request';
  context.observer.dhcp(askedEvent(context, received, kind));
  const answer = question(context, received, context.site.config.mode === 'proxy');
  if (typeof answer === 'string') return drop(answer);
  const reply = bootServerReply(
    asked(context, received),
    bootFields({
      answer,
      facts,
      server: context.site.server,
      serverText: context.site.serverText,
      realServer: false,
      school: context.schools.current(facts.mac, isUefi(facts)),
      bootServer: true,
      bootItem: bootItem(packet),
    }),
  );
  const arch = facts.arch === undefined ? {} : { arch: facts.arch };
  const event = { ...who(context, received), kind: 'proxy-ack', boot: answer } as const;
  return finish(context, received, reply, { ...event, ...arch });
}

/** The boot item of a request (43.71), when its option 43 is PXE's and well formed. */
function bootItem(packet: DhcpPacket): Uint8Array | undefined {
  const value = packet.options.get(OPTION.vendorSpecific);
  if (value === undefined) return undefined;
  try {
    return decodePxe(value).get(PXE.bootItem);
  } catch {
    return undefined; // some other vendor's option 43
  }
}

function question(
  context: ExchangeContext,
  received: Received,
  viaProxy: boolean,
): RealAnswer | 'nothing-to-boot' | 'unknown-architecture' | 'not-for-us' {
  return askBoot(context.policy, received.facts, {
    site: context.site,
    viaProxy,
    clientAddress: received.packet.ciaddr,
    relay: received.relay,
  });
}

function asked(context: ExchangeContext, received: Received): Asked {
  return {
    packet: received.packet,
    facts: received.facts,
    server: context.site.server,
    subnetOptions: NO_SUBNET,
  };
}

function finish(
  context: ExchangeContext,
  received: Received,
  reply: DhcpPacket,
  event: Parameters<ExchangeContext['observer']['dhcp']>[0],
): Outcome {
  const { facts, packet, port, from } = received;
  if (fitPacket(reply, facts.limitBytes) === undefined) return drop('reply-too-large');
  context.observer.dhcp(event);
  const to =
    port === BOOT_SERVER_PORT
      ? bootServerDestination(packet, from)
      : destination(packet, { yiaddr: 0, type: MESSAGE.offer });
  const reservation = context.policy.reservationFor({
    mac: facts.mac,
    interface: context.site.config.interface,
  });
  const delayMs = replyDelayMs(context, reservation);
  return { kind: 'send', send: { bytes: encodePacket(reply), to, delayMs } };
}
