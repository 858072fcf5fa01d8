import { formatIpv4, parseIpv4, UserError } from '#base/mod.ts';
import type { DhcpNetwork, DhcpSubnet } from './config.ts';
import { LeaseTable } from './leases.ts';
import { ipv4List, text, u16, u32 } from './options/basic.ts';
import { OPTION } from './options/codes.ts';
import { relayInformation } from './options/relay.ts';
import type { DhcpPacket } from './packet.ts';
import type { DhcpPolicy } from './policy.ts';
import { planSubnet, type SubnetPlan } from './pool.ts';
import { PreparedReplies } from './prepared.ts';
import { SourceLimiter } from './rate.ts';

/** A subnet ready to serve: its numbers, its encoded options, its leases. */
export type SubnetSite = {
  readonly config: DhcpSubnet;
  readonly plan: SubnetPlan;
  readonly options: ReadonlyMap<number, Uint8Array>;
  readonly table: LeaseTable;
  readonly prepared: PreparedReplies;
  readonly authoritative: boolean;
};

/** A network ready to serve. */
export type Site = {
  readonly config: DhcpNetwork;
  readonly server: number;
  readonly serverText: string;
  readonly mtuBytes: number;
  readonly identity: 'mac' | 'client-id';
  readonly subnets: readonly SubnetSite[];
  readonly limiter: SourceLimiter;
};

const DEFAULT_MTU_BYTES = 1500;
const DEFAULT_STRANGERS_PER_SECOND = 200;
/**
 * RFC 791: no link below it carries IPv4 with options; a larger figure than 65,535 has no field.
 */
const MTU_LIMITS = { least: 576, most: 65_535 } as const;

/** Checks and prepares one network. Throws UserError `invalid` naming what is wrong. */
export function prepareSite(config: DhcpNetwork, policy: DhcpPolicy): Site {
  const server = parseIpv4(config.serverAddress);
  if (server === undefined) {
    throw new UserError('invalid', 'dhcp-server-address', {
      what: `"${config.serverAddress}" is no IPv4 address`,
      todo: `give our own address on ${config.interface}`,
    });
  }
  return {
    config,
    server,
    serverText: config.serverAddress,
    mtuBytes: config.mtuBytes ?? DEFAULT_MTU_BYTES,
    identity: config.identity ?? 'mac',
    subnets: config.subnets.map((s) => prepareSubnet(s, config.serverAddress, policy)),
    limiter: new SourceLimiter(config.strangersPerSecond ?? DEFAULT_STRANGERS_PER_SECOND),
  };
}

function prepareSubnet(config: DhcpSubnet, server: string, policy: DhcpPolicy): SubnetSite {
  const plan = planSubnet(config, server);
  return {
    config,
    plan,
    options: subnetOptions(config, plan),
    table: new LeaseTable(plan.pool, (a) => policy.isReserved(formatIpv4(a))),
    prepared: new PreparedReplies(),
    authoritative: config.authoritative ?? true,
  };
}

/** The options of a subnet, encoded once. The mask stands before the router (RFC 2132 §3.3). */
export function subnetOptions(config: DhcpSubnet, plan: SubnetPlan): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>([[OPTION.subnetMask, u32(plan.mask)]]);
  const addresses = (code: number, list: readonly string[] | undefined): void => {
    if (list === undefined || list.length === 0) return;
    if (list.some((a) => parseIpv4(a) === undefined)) {
      throw new UserError('invalid', 'dhcp-address', {
        what: `one of "${list.join(', ')}" is no IPv4 address`,
        todo: 'write addresses like 10.77.0.1',
      });
    }
    options.set(code, ipv4List(list));
  };
  addresses(OPTION.router, config.routers);
  addresses(OPTION.dnsServers, config.dnsServers);
  if (config.domainName !== undefined) options.set(OPTION.domainName, text(config.domainName));
  options.set(OPTION.broadcastAddress, u32(plan.broadcast));
  addresses(OPTION.ntpServers, config.ntpServers);
  if (config.mtuBytes !== undefined) {
    const mtu = Math.min(Math.max(config.mtuBytes, MTU_LIMITS.least), MTU_LIMITS.most);
    options.set(OPTION.interfaceMtu, u16(mtu));
  }
  return options;
}

/** True when a relay may carry this giaddr: an ordinary unicast address that is not ours. */
export function isUsableRelay(giaddr: number, server: number): boolean {
  const first = giaddr >>> 24;
  return first !== 0 && first !== 127 && first < 224 && giaddr !== server;
}

/**
 * The subnet that a packet came from (RFC 2131 §4.3.1): the relay's link selection (RFC 3527), its
 * giaddr, the address the client already uses, or the subnet of our own address.
 */
export function subnetOf(site: Site, packet: DhcpPacket): SubnetSite | undefined {
  const { giaddr, ciaddr } = packet;
  if (giaddr !== 0) {
    return containing(site, relayInformation(packet.options)?.linkSelection ?? giaddr);
  }
  const byClient = ciaddr === 0 ? undefined : containing(site, ciaddr);
  return byClient ?? containing(site, site.server);
}

function containing(site: Site, address: number): SubnetSite | undefined {
  return site.subnets.find((s) => inSubnet(s, address));
}

/** True when the address belongs to the subnet. */
export function inSubnet(subnet: SubnetSite, address: number): boolean {
  return (address & subnet.plan.mask) >>> 0 === subnet.plan.network;
}

/** The subnet whose pool or network holds an address of the journal. */
export function subnetByAddress(sites: readonly Site[], address: number): SubnetSite | undefined {
  for (const site of sites) {
    const subnet = containing(site, address);
    if (subnet !== undefined) return subnet;
  }
  return undefined;
}

/** Asserts that no two networks share a subnet: a lease belongs to exactly one table. */
export function assertDisjoint(sites: readonly Site[]): void {
  const all = sites.flatMap((s) => s.subnets);
  for (const [n, a] of all.entries()) {
    for (const b of all.slice(n + 1)) {
      const overlap = inSubnet(a, b.plan.network) || inSubnet(b, a.plan.network);
      if (!overlap) continue;
      throw new UserError('conflict', 'dhcp-subnets', {
        what: `the subnets ${a.config.network} and ${b.config.network} overlap`,
        todo: 'give each network its own subnet',
      });
    }
  }
}
