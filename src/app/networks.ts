import { formatIpv4, parseCidr, parseIpv4, UserError } from '#base/mod.ts';
import type { DhcpNetwork } from '#dhcp/mod.ts';
import type { InterfaceInfo } from '#net/mod.ts';
import type { NetworkConfig } from './config.ts';

/** One thing that is wrong or worth knowing, as `doctor` shows it and `up` refuses by it. */
export type Finding = {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
  readonly why?: string;
  readonly todo?: string;
};

/** A network of the configuration, matched with the interface that is really there. */
export type BootNetwork = {
  readonly config: NetworkConfig;
  readonly interface: InterfaceInfo;
  /** Our own address on it. */
  readonly address: string;
  /** `10.77.0.0/24`. */
  readonly subnet: string;
};

/**
 * Matches the settings with the interfaces. What cannot be served is a `fail` finding; all are
 * collected before anything starts.
 */
export function matchNetworks(
  configs: readonly NetworkConfig[],
  interfaces: readonly InterfaceInfo[],
  defaultRoutes: readonly string[],
): { networks: BootNetwork[]; findings: Finding[] } {
  const networks: BootNetwork[] = [];
  const findings: Finding[] = configs.length === 0 ? [noNetwork()] : [];
  for (const config of configs) {
    const result = matchOne(config, interfaces);
    if ('level' in result) {
      findings.push(result);
      continue;
    }
    findings.push(...judge(result, defaultRoutes));
    networks.push(result);
  }
  return { networks, findings };
}

function noNetwork(): Finding {
  return {
    level: 'fail',
    what: 'no network to serve: no interface has an IPv4 address',
    todo: 'give one an address, for example: ip addr add 10.77.0.1/24 dev eth1',
  };
}

function matchOne(
  config: NetworkConfig,
  interfaces: readonly InterfaceInfo[],
): BootNetwork | Finding {
  const name = config.interface;
  const found = interfaces.find((i) => i.name === name);
  if (found === undefined) {
    const there = interfaces.filter((i) => !i.loopback).map((i) => i.name);
    return {
      level: 'fail',
      what: `there is no network interface ${name}`,
      todo: `name one of: ${there.join(', ') || '(this host has none)'}`,
    };
  }
  const wanted = config.address;
  const own = found.ipv4.find((a) => wanted === undefined || a.address === wanted);
  if (own === undefined) {
    const todo =
      wanted === undefined
        ? `give it one: ip addr add 10.77.0.1/24 dev ${name}`
        : `it has: ${found.ipv4.map((a) => a.address).join(', ') || 'none'}`;
    return { level: 'fail', what: `${name} has no IPv4 address ${wanted ?? ''}`.trim(), todo };
  }
  const cidr = parseCidr(`${own.address}/${own.prefix}`);
  const subnet = `${formatIpv4(cidr?.network ?? 0)}/${own.prefix}`;
  return { config, interface: found, address: own.address, subnet };
}

function judge(network: BootNetwork, defaultRoutes: readonly string[]): Finding[] {
  const { config, interface: card, subnet } = network;
  const found: Finding[] = [];
  if (!card.up) {
    found.push({
      level: 'warn',
      what: `${card.name} is down`,
      todo: `ip link set ${card.name} up`,
    });
  }
  if (config.dhcp === 'server' && defaultRoutes.includes(card.name) && !config.allowDefaultRoute) {
    found.push({
      level: 'fail',
      what: `refusing to be a DHCP server on ${card.name}: it carries the default route`,
      why: 'it is most likely the house network, whose router gives the addresses already',
      todo: 'use `dhcp: proxy` there, or say `allowDefaultRoute: true` if it really is a boot network',
    });
  }
  if (config.pool !== undefined && !insideSubnet(config.pool, subnet)) {
    found.push({
      level: 'fail',
      what: `the pool ${config.pool.first}-${config.pool.last} is not inside ${subnet} of ${card.name}`,
      todo: `choose a range inside ${subnet}`,
    });
  }
  return found;
}

function insideSubnet(pool: { first: string; last: string }, subnet: string): boolean {
  const net = parseCidr(subnet);
  const first = parseIpv4(pool.first) ?? 0;
  const last = parseIpv4(pool.last) ?? 0;
  return net !== undefined && first > net.network && last < net.broadcast;
}

/**
 * Throws UserError when no machine with these MAC addresses can have that fixed address: it is ours
 * or the router's, no host's, or laid down in polyboot.yaml for another host. Addresses of other
 * networks pass: they are not used here (a machine that is carried about).
 */
export function checkMachineAddress(
  networks: readonly BootNetwork[],
  address: string,
  macs: readonly string[],
): void {
  for (const { config, interface: card, subnet } of networks) {
    const todo = `choose another address of ${subnet}`;
    const refuse = (what: string): UserError =>
      new UserError('conflict', 'machine-address-taken', { what: `${address} ${what}`, todo });
    if (card.ipv4.some((own) => own.address === address))
      throw refuse(`is this server's own address on ${card.name}`);
    if (config.router === address) throw refuse(`is the router of ${card.name}`);
    const host = config.reservations.find((r) => r.address === address && !macs.includes(r.mac));
    if (host !== undefined) throw refuse(`is reserved in polyboot.yaml for ${host.mac}`);
    const { network, broadcast } = parseCidr(subnet) ?? {};
    const number = parseIpv4(address);
    if (number === network || number === broadcast) throw refuse(`is no host's in ${subnet}`);
  }
}

/** The DHCP service's view of a network. */
export function dhcpNetworkOf(network: BootNetwork): DhcpNetwork {
  const { config } = network;
  return {
    interface: config.interface,
    mode: config.dhcp,
    serverAddress: network.address,
    hostAddresses: network.interface.ipv4.map((a) => a.address),
    mtuBytes: network.interface.mtu,
    replyDelayMs: config.replyDelayMs,
    subnets: [
      {
        network: network.subnet,
        pool: config.pool === undefined ? [] : [config.pool],
        leaseSeconds: config.lease,
        ...(config.router === undefined ? {} : { routers: [config.router] }),
        ...(config.dns.length === 0 ? {} : { dnsServers: config.dns }),
        ...(config.ntp.length === 0 ? {} : { ntpServers: config.ntp }),
        ...(config.domain === undefined ? {} : { domainName: config.domain }),
      },
    ],
  };
}
