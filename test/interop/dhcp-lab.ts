import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DhcpEvent, DhcpNetwork } from '#dhcp/mod.ts';
import { Lab, type LabHost } from '../lab/netns.ts';
import type { Running } from '../lab/process.ts';
import type { LabServerOptions } from './dhcp-lab-server.ts';

/** A lab with a folder of its own, and our DHCP server beside the bridge when asked for. */
export class DhcpLab {
  readonly lab: Lab;
  readonly folder: string;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.folder = mkdtempSync(join(tmpdir(), 'pb-dhcp-'));
  }

  static async create(): Promise<DhcpLab> {
    return new DhcpLab(await Lab.create());
  }

  get journalPath(): string {
    return join(this.folder, 'leases');
  }

  /** The bridge's network with a pool of .50 to .99. */
  network(over: Partial<DhcpNetwork> = {}): DhcpNetwork {
    return {
      interface: this.lab.bridge,
      mode: 'server',
      serverAddress: this.lab.ip,
      subnets: [
        {
          network: '10.77.0.0/24',
          pool: [{ first: '10.77.0.50', last: '10.77.0.99' }],
          leaseSeconds: 600,
          routers: [this.lab.ip],
          dnsServers: [this.lab.ip],
          domainName: 'lab.test',
        },
      ],
      ...over,
    };
  }

  /** Starts the server process; `ready` waits until it serves. */
  start(options: Partial<LabServerOptions> = {}): Running {
    const all = { networks: [this.network()], journalPath: this.journalPath, ...options };
    const script = join(import.meta.dirname, 'dhcp-lab-server.ts');
    return this.lab.start(process.execPath, [script, JSON.stringify(all)]);
  }

  async serve(options: Partial<LabServerOptions> = {}): Promise<Running> {
    const server = this.start(options);
    await server.waitFor(/"ready"/);
    return server;
  }

  /** dnsmasq as somebody else's server, at 10.77.0.2 with a pool of .100 to .120. */
  async dnsmasq(): Promise<Running> {
    const host = await this.lab.addHost({ address: '10.77.0.2/24' });
    const server = host.start('dnsmasq', [
      '--no-daemon',
      '--conf-file=/dev/null',
      '--port=0',
      '--interface=eth0',
      '--dhcp-range=10.77.0.100,10.77.0.120,600',
      '--leasefile-ro',
      '--no-ping',
      '--log-dhcp',
    ]);
    await server.waitFor(/DHCP, sockets bound|DHCP, IP range/);
    return server;
  }

  /** A script for dhclient or udhcpc that sets the address and touches nothing else of the host. */
  script(): string {
    const path = join(this.folder, 'set-address');
    const text = `#!/bin/sh
address=\${new_ip_address:-$ip}
case "\${reason:-$1}" in
  BOUND|RENEW|REBIND|REBOOT|bound|renew) ip addr replace "$address/24" dev eth0 ;;
  RELEASE|EXPIRE|deconfig) ip addr flush dev eth0 ;;
esac
echo "script \${reason:-$1} $address \${new_host_name:-$hostname}"
`;
    writeFileSync(path, text, { mode: 0o755 });
    return path;
  }

  /** udhcpc until it has an address; returns what it wrote. */
  async udhcpc(host: LabHost, ...more: string[]): Promise<string> {
    const args = ['-i', 'eth0', '-f', '-t', '8', '-T', '1', '-A', '1', '-s', this.script()];
    const run = host.start('udhcpc', [...args, '-q', ...more]);
    const { stdout, stderr } = await run.finished();
    return stdout + stderr;
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** The events that a server has written so far. */
export function eventsOf(server: Running): DhcpEvent[] {
  return server.output
    .split('\n')
    .filter((line) => line.startsWith('{') && line.includes('"kind"') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as DhcpEvent);
}
