import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Lab } from '../lab/netns.ts';
import { run, type Running } from '../lab/process.ts';
import type { BootServer, DhcpRole, ServedMachine } from './server.ts';

/** Loaders of Debian's iPXE package that the peers hand out by TFTP. */
const LOADERS = ['undionly.kpxe', 'snponly.efi'];
const HTTP_PORT = 8080;

/** How the stock programs are set up. */
export type PeerOptions = {
  /**
   * False: as their packages set them up. True: what an expert adds for speed, which is a router
   * advertisement (Debian's iPXE waits 15.8 s without one) and no ping before an offer (1–3 s).
   */
  readonly tuned?: boolean;
};

/**
 * The stock way to do what Polyboot does: dnsmasq (DHCP, TFTP), nginx (scripts, files) and tgt
 * (iSCSI), each with a configuration written for it here. The reference for the guest's side of a
 * scenario, and the rival of the boot benchmark.
 */
export class PeerServer implements BootServer {
  readonly #lab: Lab;
  readonly #folder: string;
  readonly #processes: Running[] = [];
  /** tgtd's control port: one per server, as its control sockets share a folder. */
  readonly #control = String(1 + Math.floor(Math.random() * 30_000));
  readonly #urls = new Map<string, string>();
  #targets = 0;

  private constructor(lab: Lab, folder: string) {
    this.#lab = lab;
    this.#folder = folder;
  }

  static async start(
    lab: Lab,
    folder: string,
    role: DhcpRole,
    options: PeerOptions = {},
  ): Promise<PeerServer> {
    const server = new PeerServer(lab, folder);
    // dnsmasq advertises only on a link with an address of its own to advertise.
    if (options.tuned === true) {
      await lab.run('ip', ['addr', 'add', 'fd77::1/64', 'dev', lab.bridge, 'nodad']);
    }
    await server.#startHttp();
    await server.#startTarget();
    await server.#startDnsmasq(role, options);
    return server;
  }

  async addMachine(machine: ServedMachine): Promise<void> {
    const script = ['#!ipxe', `set initiator-iqn ${initiator(machine)}`];
    if (machine.chap !== undefined) {
      script.push(`set username ${machine.chap.user}`, `set password ${machine.chap.secret}`);
    }
    const urls: string[] = [];
    for (const [n, image] of (machine.drives ?? []).entries()) {
      const url = await this.#addTarget(machine, image);
      this.#urls.set(`${machine.name}.${n}`, url);
      urls.push(url);
    }
    const plan = machine.plan ?? { kind: 'san' };
    // In order: a drive hooked after 0x81 cannot become a bootable 0x80. Only the first is
    // described to the operating system: BIOS iPXE has 768 bytes for its iBFT, and ends the script
    // when the third drive does not fit.
    const hook = (url: string, n: number): string =>
      `sanhook ${n === 0 ? '' : '--no-describe '}--drive 0x8${n} ${url}`;
    if (plan.kind === 'san') {
      script.push(...urls.map(hook), 'sanboot --no-describe --drive 0x80');
    } else if (plan.kind === 'script') {
      script.splice(0, script.length, plan.text);
    } else if (plan.kind === 'iso') {
      script.push(`sanboot ${await this.#publish(plan.file)}`);
    } else if (plan.kind === 'floppy') {
      const memdisk = await this.#publish('/usr/lib/syslinux/memdisk');
      script.push('set keep-san 1', ...urls.map(hook), `kernel ${memdisk} floppy`);
      script.push(`initrd ${await this.#publish(plan.file)}`, 'boot');
    } else {
      script.push(...urls.map(hook));
      script.push(`kernel ${await this.#publish(plan.kernel)} ${plan.cmdline}`);
      for (const file of plan.initrd) script.push(`initrd ${await this.#publish(file)}`);
      script.push('boot');
    }
    const file = join(this.#folder, 'http', `${machine.mac.replaceAll(':', '-')}.ipxe`);
    await writeFile(file, `${script.join('\n')}\n`);
  }

  targetUrl(machine: string, drive: number): string {
    const url = this.#urls.get(`${machine}.${drive}`);
    if (url === undefined) throw new Error(`${machine} has no drive ${drive}`);
    return url;
  }

  /** The peers tell no story; the guest's own words are all there is. */
  async waitStage(): Promise<void> {}

  predictGeometry(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  crash(): Promise<void> {
    throw new Error('the peers are not crashed');
  }

  output(): string {
    return this.#processes.map((p) => `── ${p.name}\n${p.output}`).join('\n');
  }

  async stop(): Promise<void> {
    for (const p of this.#processes.toReversed()) await p.stop();
  }

  async #startHttp(): Promise<void> {
    const root = join(this.#folder, 'http');
    await mkdir(root);
    await symlink('/usr/lib/ipxe/snponly.efi', join(root, 'snponly.efi'));
    const conf = join(this.#folder, 'nginx.conf');
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const paths = temp.map((p) => `${p}_temp_path ${this.#folder}/nginx-temp;`).join(' ');
    await writeFile(
      conf,
      `daemon off; user root; worker_processes 2; pid ${this.#folder}/nginx.pid;
error_log stderr notice; events {}
http { access_log off; sendfile on; tcp_nopush on; ${paths}
  server { listen ${this.#lab.ip}:${HTTP_PORT}; root ${root}; } }
`,
    );
    const nginx = this.#lab.start('nginx', ['-c', conf, '-e', 'stderr']);
    this.#processes.push(nginx);
    await nginx.waitFor(/start worker process \d+/);
  }

  async #startTarget(): Promise<void> {
    // tgtd makes its control socket here and does not make the folder.
    await mkdir('/var/run/tgtd', { recursive: true });
    const portal = `portal=${this.#lab.ip}:3260`;
    const tgtd = this.#lab.start('tgtd', ['-f', '-C', this.#control, '--iscsi', portal]);
    this.#processes.push(tgtd);
    await tgtd.waitFor(/registered|bs_init/);
  }

  async #startDnsmasq(role: DhcpRole, options: PeerOptions): Promise<void> {
    const tftp = join(this.#folder, 'tftp');
    await mkdir(tftp);
    for (const name of LOADERS) await symlink(`/usr/lib/ipxe/${name}`, join(tftp, name));
    const network = this.#lab.ip.replace(/\d+$/, '');
    const base = `http://${this.#lab.ip}:${HTTP_PORT}`;
    const script = `${base}/\${mac:hexhyp}.ipxe`;
    const boot =
      role === 'server'
        ? [
            `--dhcp-range=${network}100,${network}200`,
            '--dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe',
            '--dhcp-boot=tag:!ipxe,tag:!bios,tag:!http,snponly.efi',
            `--dhcp-boot=tag:http,${base}/snponly.efi`,
            '--dhcp-match=set:http,option:client-arch,16',
            '--dhcp-option-force=tag:http,60,HTTPClient',
          ]
        : [
            `--dhcp-range=${network}0,proxy`,
            '--pxe-service=tag:!ipxe,x86PC,"Polyboot",undionly.kpxe',
            '--pxe-service=tag:!ipxe,X86-64_EFI,"Polyboot",snponly.efi',
            '--pxe-service=tag:!ipxe,BC_EFI,"Polyboot",snponly.efi',
          ];
    const tuned =
      options.tuned === true ? ['--no-ping', '--enable-ra', '--dhcp-range=fd77::,ra-only'] : [];
    const folder = this.#folder;
    const general = ['--keep-in-foreground', '--conf-file=/dev/null', '--user=root', '--port=0'];
    const files = [`--dhcp-leasefile=${folder}/leases`, `--pid-file=${folder}/dnsmasq.pid`];
    const listen = [`--interface=${this.#lab.bridge}`, '--bind-interfaces'];
    const log = ['--log-facility=-'];
    const tags = ['--dhcp-userclass=set:ipxe,iPXE', '--dhcp-match=set:bios,option:client-arch,0'];
    const loader = ['--enable-tftp', `--tftp-root=${tftp}`, `--dhcp-boot=tag:ipxe,${script}`];
    const argv = [general, files, listen, log, tags, boot, loader, tuned].flat();
    const dnsmasq = this.#lab.start('dnsmasq', argv);
    this.#processes.push(dnsmasq);
    await dnsmasq.waitFor(/sockets bound exclusively|DHCP, (?:IP range|proxy)/);
  }

  /** Makes a target with one LUN; returns the URL by which iPXE reaches it. */
  async #addTarget(machine: ServedMachine, image: string): Promise<string> {
    const tid = String(++this.#targets);
    const name = `${initiator(machine)}.${this.#targets}`;
    const target = ['--lld', 'iscsi', '--mode', 'target', '--tid', tid];
    await this.#tgtadm(...target, '--op', 'new', '--targetname', name);
    const unit = ['--lld', 'iscsi', '--mode', 'logicalunit', '--tid', tid, '--lun', '1'];
    await this.#tgtadm(...unit, '--op', 'new', '--backing-store', image);
    await this.#tgtadm(...target, '--op', 'bind', '--initiator-address', 'ALL');
    if (machine.chap !== undefined) {
      const account = ['--lld', 'iscsi', '--mode', 'account', '--user', machine.chap.user];
      await this.#tgtadm(...account, '--op', 'new', '--password', machine.chap.secret);
      await this.#tgtadm(...account, '--op', 'bind', '--tid', tid);
    }
    // LUN 0 of tgt is its controller.
    return `iscsi:${this.#lab.ip}:::1:${name}`;
  }

  async #tgtadm(...args: string[]): Promise<void> {
    await run('tgtadm', ['-C', this.#control, ...args]);
  }

  /** Serves a file over HTTP; returns its URL. */
  async #publish(file: string): Promise<string> {
    await symlink(file, join(this.#folder, 'http', basename(file)));
    return `http://${this.#lab.ip}:${HTTP_PORT}/${basename(file)}`;
  }
}

function initiator(machine: ServedMachine): string {
  return `iqn.2026-11.org.polyboot:${machine.name}`;
}
