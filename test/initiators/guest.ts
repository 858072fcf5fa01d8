import assert from 'node:assert/strict';
import { join } from 'node:path';
import { VirtualMachine, type NicSpec } from '#vm/mod.ts';
import { DebianRoot, DebianShell } from '../boot/debian.ts';
import { debianImage, kernelOf } from '../boot/images.ts';
import type { Lab } from '../lab/netns.ts';
import { run } from '../lab/process.ts';
import { GUEST_LIMIT_MS, macOf } from '../lab/vm.ts';
import type { TargetName } from './targets.ts';

/** The name under which the guest logs in. */
export const GUEST_IQN = 'iqn.2026-11.test:guest';

/** What Linux logs when a disk misbehaves, as a pattern of grep -E. */
export const KERNEL_ERRORS =
  'I/O error|Sense Key : |FAILED Result|critical|EXT4-fs error|blk_update_request|conn error';

/** One network card of the guest: the bridge it is plugged into, and its address. */
export type GuestPort = { readonly bridge: string; readonly address: string };

/**
 * A root shell on the serial line as soon as there is a root file system, no login prompts, and
 * nothing that these tests do not use: half the time of an ordinary boot.
 */
const QUICK_BOOT = [
  'quiet systemd.show_status=0 systemd.unit=basic.target',
  'systemd.debug-shell=ttyS0 systemd.mask=serial-getty@ttyS0.service',
  // Started by the tests that want it.
  'systemd.mask=multipathd.service systemd.mask=multipathd.socket',
  'modprobe.blacklist=ata_piix,kvm_amd,kvm',
].join(' ');

/**
 * A Debian with open-iscsi, multipath-tools and sg3-utils, driven by its serial line. Its disk is a
 * throw-away layer over the image of the boot tests; its kernel is started directly.
 */
export class InitiatorGuest {
  readonly machine: VirtualMachine;
  readonly #shell: DebianShell;

  private constructor(machine: VirtualMachine, shell: DebianShell) {
    this.machine = machine;
    this.#shell = shell;
  }

  /** Boots it; the shell and open-iscsi are ready then. The caller stops the machine. */
  static async start(
    lab: Lab,
    folder: string,
    ports: readonly GuestPort[],
  ): Promise<InitiatorGuest> {
    const image = await debianImage();
    const { kernel, initrd, uuid } = await kernelOf(folder, await DebianRoot.open(image));
    const disk = join(folder, 'guest.qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image, disk]);
    const nics: NicSpec[] = [];
    for (const [i, port] of ports.entries()) {
      const name = await lab.addTap(port.bridge);
      nics.push({ backend: { kind: 'tap', name }, mac: macOf(`initiator-${i}`), romFile: '' });
    }
    const [first = ''] = ports.map((port) => port.address.split('/')[0]);
    const commandLine = `root=UUID=${uuid} ro console=ttyS0,115200 net.ifnames=0 ${QUICK_BOOT}`;
    const machine = await VirtualMachine.start(
      {
        name: 'initiator',
        firmware: 'bios',
        memoryMib: 320,
        processors: 2,
        accel: 'tcg',
        vga: 'none',
        // The image's initramfs looks for a network; a static address ends that at once.
        kernel: {
          path: kernel,
          initrd,
          commandLine: `${commandLine} ip=${first}:::255.255.255.0::eth0:none`,
        },
        nics,
        drives: [
          { id: 'root', bus: 'virtio', source: { kind: 'file', path: disk, format: 'qcow2' } },
        ],
      },
      { namespace: lab.namespace },
    );
    try {
      await machine.powerOn();
      const guest = new InitiatorGuest(machine, await DebianShell.atPrompt(machine));
      await guest.#prepare(ports);
      return guest;
    } catch (e) {
      await machine.stop();
      throw e;
    }
  }

  /** Runs a command; returns what it printed. A non-zero exit throws. */
  async run(command: string, limitMs?: number): Promise<string> {
    const printed = await this.#shell.run(command, limitMs);
    // The verifying load (load.ts) speaks on the same line.
    assert.doesNotMatch(printed, /^LOAD failed/m);
    return printed.replaceAll(/^LOAD .*\n?/gm, '').trim();
  }

  /** Starts a command that goes on by itself. */
  async start(command: string, log = '/dev/null'): Promise<void> {
    // Not a job of this shell, which would tell of its end in the middle of other answers.
    await this.run(`(${command} </dev/null >${log} 2>&1 &)`);
  }

  /** Runs a command that must fail; returns all it printed. */
  fails(command: string): Promise<string> {
    return this.run(`if ${command} 2>&1; then false; else true; fi`);
  }

  /** Puts a file into the guest. */
  async write(path: string, text: string): Promise<void> {
    const encoded = Buffer.from(text).toString('base64');
    // A terminal takes 4095 characters a line.
    const parts = encoded.match(/.{1,3000}/g) ?? [];
    await this.run(`: >${path}.b64`);
    for (const part of parts) await this.run(`printf %s ${part} >>${path}.b64`);
    await this.run(`base64 -d ${path}.b64 >${path} && rm ${path}.b64`);
  }

  /** Makes a record of a target, with settings that differ from the defaults. */
  async addNode(target: TargetName, settings: Readonly<Record<string, string>> = {}) {
    const node = nodeOf(target);
    await this.run(`iscsiadm ${node} -o new`);
    const updates = Object.entries(settings).map(
      ([name, value]) => `iscsiadm ${node} -o update -n ${name} -v ${value}`,
    );
    if (updates.length > 0) await this.run(updates.join(' && '));
  }

  /** Logs in; returns the disk of a LUN, such as `/dev/sda`. */
  async login(
    target: TargetName,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    await this.addNode(target, settings);
    await this.run(`iscsiadm ${nodeOf(target)} --login`);
    return await this.disk(target);
  }

  /** The device of a LUN of a target that is logged in to. */
  async disk(target: TargetName, lun = 0): Promise<string> {
    const link = `/dev/disk/by-path/ip-${target.portal}-iscsi-${target.iqn}-lun-${lun}`;
    return await this.run(`udevadm settle && readlink -f ${link} | grep /dev/s`);
  }

  /** Logs out and forgets the target. */
  async logout(target: TargetName): Promise<void> {
    await this.run(`iscsiadm ${nodeOf(target)} --logout && iscsiadm ${nodeOf(target)} -o delete`);
  }

  /**
   * From now on only the test talks to the disks. udev reads a disk whenever somebody who could
   * write closes it, and its command would take the unit attention that the test waits for.
   */
  async silenceUdev(): Promise<void> {
    const units = ['', '-kernel.socket', '-control.socket'].map((end) => `systemd-udevd${end}`);
    await this.run(`udevadm settle && systemctl stop ${units.join(' ')}`);
  }

  /** Kernel messages since boot that fit a pattern of grep -E. */
  async kernelMessages(pattern: string): Promise<string> {
    return await this.run(`dmesg | grep -E '${pattern}' || true`);
  }

  /**
   * From now on the kernel's messages go to the serial line; the result waits for one of them.
   */
  async followKernel(): Promise<(pattern: RegExp) => Promise<void>> {
    await this.run('dmesg -n 8');
    return async (pattern) => {
      await this.machine.serial.waitFor(pattern, GUEST_LIMIT_MS);
      await this.#shell.quiet();
    };
  }

  /** How many lines a log file has: where `waitLog` begins to look. */
  async logEnd(file: string): Promise<number> {
    return Number(await this.run(`wc -l <${file}`));
  }

  /** Waits until a log file says something (a pattern of grep -E) after a line. */
  async waitLog(file: string, pattern: string, afterLine: number): Promise<string> {
    // Not a pipe: the shell would wait for tail, which ends with the line after the one we want.
    const lines = `<(tail -n +${afterLine + 1} -f ${file})`;
    return await this.run(`timeout 280 grep -E -m1 '${pattern}' < ${lines}`);
  }

  /** Pulls out the cable of a network card, or plugs it in. */
  async link(port: number, up: boolean): Promise<void> {
    await this.machine.qmp.execute('set_link', { name: `nic${port}`, up });
  }

  async #prepare(ports: readonly GuestPort[]): Promise<void> {
    await this.run('systemctl start iscsid.socket systemd-udevd', GUEST_LIMIT_MS);
    await this.run(`echo InitiatorName=${GUEST_IQN} >/etc/iscsi/initiatorname.iscsi`);
    await this.run('modprobe -a sg iscsi_tcp && mkdir -p /mnt/a /mnt/b');
    for (const [i, port] of ports.entries()) {
      await this.run(`ip addr replace ${port.address} dev eth${i} && ip link set eth${i} up`);
    }
  }
}

/** `iscsiadm`'s words for the record of a target. */
export function nodeOf(target: TargetName): string {
  return `-m node -T ${target.iqn} -p ${target.portal},1`;
}
