import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { readTextScreen, VirtualMachine, type MachineSpec, type NicSpec } from '#vm/mod.ts';
import { Lab } from '../lab/netns.ts';
import type { Running } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import type { IpxeSiteOptions } from './ipxe-site.ts';

/** The card of the machine under test, and how paths spell it. */
export const MAC = '52:54:00:77:12:34';
export const MAC_PATH = '52-54-00-77-12-34';
export const BASE = 'http://10.77.0.1:8080';
const LOOK_AGAIN_MS = 250;

/** A machine with iPXE, our boot listener, and a DHCP server that names a script. */
export class IpxeLab {
  readonly lab: Lab;
  readonly site: Running;
  readonly machine: VirtualMachine;

  private constructor(lab: Lab, site: Running, machine: VirtualMachine) {
    this.lab = lab;
    this.site = site;
    this.machine = machine;
  }

  /**
   * Powers on. `site.texts` holds the scripts; the machine starts with `/boot/<mac>.ipxe` unless
   * `bootFile` says otherwise.
   */
  static async start(
    t: TestContext,
    site: Omit<IpxeSiteOptions, 'address' | 'port'>,
    spec: Partial<MachineSpec> = {},
    bootFile = `${BASE}/boot/${MAC_PATH}.ipxe`,
    dhcpLines: readonly string[] = [`dhcp-boot=${bootFile}`],
    card: Omit<NicSpec, 'backend'> = { mac: MAC, bootIndex: 1, model: 'virtio-net-pci' },
  ): Promise<IpxeLab> {
    const lab = await Lab.create();
    t.after(() => lab.close());
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-ipxe-'));
    t.after(() => rm(folder, { recursive: true }));
    const tap = await lab.addTap();
    const options: IpxeSiteOptions = { ...site, address: lab.ip, port: 8080 };
    const running = lab.start(process.execPath, [
      join(import.meta.dirname, 'ipxe-site.ts'),
      JSON.stringify(options),
    ]);
    await running.waitFor(/^ready /m);
    await startDhcp(lab, folder, dhcpLines);
    const machine = await VirtualMachine.start(
      {
        name: 'ipxe-test',
        firmware: 'bios',
        memoryMib: 256,
        accel: 'tcg',
        nics: [{ backend: { kind: 'tap', name: tap }, ...card }],
        ...spec,
      },
      { namespace: lab.namespace },
    );
    t.after(() => machine.stop());
    await machine.powerOn();
    return new IpxeLab(lab, running, machine);
  }

  /**
   * A UEFI machine whose own firmware fetches `loader` by HTTP (option 93 = 16, class HTTPClient);
   * the iPXE in it then gets its script.
   */
  static startHttpBoot(
    t: TestContext,
    site: Omit<IpxeSiteOptions, 'address' | 'port'>,
    loader: string,
  ): Promise<IpxeLab> {
    const lines = [
      'dhcp-match=set:http,option:client-arch,16',
      'dhcp-match=set:ipxe,175',
      'dhcp-option-force=tag:http,60,HTTPClient',
      `dhcp-boot=tag:http,tag:!ipxe,${BASE}${loader}`,
      `dhcp-boot=tag:ipxe,${BASE}/boot/${MAC_PATH}.ipxe`,
    ];
    const card = { mac: MAC, bootIndex: 1, model: 'virtio-net-pci', romFile: '' } as const;
    // Without these OVMF tries PXE first and gives up after a minute.
    const firmwareConfig = ['IPv4PXESupport', 'IPv6PXESupport'].map((name) => ({
      name: `opt/org.tianocore/${name}`,
      value: 'no',
    }));
    return IpxeLab.start(t, site, { firmware: 'ovmf', firmwareConfig }, '', lines, card);
  }

  /** The text screen once it matches: looked at again after a moment, as a person would. */
  async screenWith(pattern: RegExp): Promise<string> {
    const deadlineMs = Date.now() + GUEST_LIMIT_MS;
    let text = '';
    while (Date.now() < deadlineMs) {
      text = (await readTextScreen(this.machine.qmp, this.machine.folder)).join('\n');
      if (pattern.test(text)) return text;
      // Nothing announces a change of the screen: this is the one place that looks again by time.
      await delay(LOOK_AGAIN_MS);
    }
    throw new Error(`no ${pattern} on the screen:\n${text}`);
  }

  /** The next request of a path whose query has these values. */
  async request(path: string, query: Readonly<Record<string, string>> = {}): Promise<SeenRequest> {
    const escaped = path.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
    const values = Object.entries(query).map(([k, v]) => `(?=.*"${k}":"${v}")`);
    const line = await this.site.waitFor(
      new RegExp(`^request (?=.*"path":"${escaped}")${values.join('')}(.*)$`, 'm'),
      GUEST_LIMIT_MS,
    );
    return JSON.parse(line[0].slice('request '.length)) as SeenRequest;
  }
}

/** One line of the site. */
export type SeenRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly range?: string;
};

/**
 * dnsmasq, with a router advertisement too: Debian's iPXE waits 15.8 s for one, and
 * these tests measure nothing that it could spoil.
 */
async function startDhcp(lab: Lab, folder: string, lines: readonly string[]): Promise<void> {
  await lab.run('ip', ['-6', 'addr', 'add', 'fd77::1/64', 'dev', lab.bridge, 'nodad']);
  const config = join(folder, 'dnsmasq.conf');
  await writeFile(
    config,
    [
      `interface=${lab.bridge}`,
      'bind-interfaces',
      'port=0',
      'user=root',
      'no-ping',
      'dhcp-authoritative',
      `dhcp-leasefile=${join(folder, 'leases')}`,
      'dhcp-range=10.77.0.50,10.77.0.99,1h',
      'enable-ra',
      'dhcp-range=fd77::,ra-only',
      `ra-param=${lab.bridge},0,0`,
      ...lines,
      'log-dhcp',
      'log-facility=-',
    ].join('\n'),
  );
  const dnsmasq = lab.start('dnsmasq', ['--keep-in-foreground', `--conf-file=${config}`]);
  await dnsmasq.waitFor(/DHCP, IP range/);
  if (!dnsmasq.running) await once(dnsmasq.child, 'exit');
}
