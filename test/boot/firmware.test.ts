import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Lab } from '../lab/netns.ts';
import { GUEST_LIMIT_MS, macOf } from '../lab/vm.ts';
import { assemble, uefiDisk, UEFI_DISK_SAYS } from './images.ts';
import { makeDisk } from './mbr.ts';
import { inRig } from './rig.ts';

const UEFI_TOOLS = ['grub-mkimage', 'sgdisk', 'mformat', 'mmd', 'mcopy'];

test(
  'UEFI HTTP Boot → snponly.efi → disk',
  ...inRig({ needs: { tools: UEFI_TOOLS } }, async (rig) => {
    const name = 'http1';
    const mac = macOf(name);
    await rig.server.addMachine({ name, mac, drives: [await uefiDisk(rig.folder)] });
    const machine = await rig.boot({ name, mac, stage: 'uefi-http' });
    await machine.serial.waitFor(new RegExp(UEFI_DISK_SAYS), GUEST_LIMIT_MS);
    await rig.server.waitStage(mac, 'disk');
  }),
);

/** The DHCP server of the house: it gives addresses and knows nothing of booting. */
async function houseServer(lab: Lab, folder: string): Promise<void> {
  const house = await lab.addHost({ address: '10.77.0.2/24' });
  const dnsmasq = house.start('dnsmasq', [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--user=root',
    '--log-facility=-',
    '--port=0',
    '--interface=eth0',
    '--bind-interfaces',
    '--dhcp-range=10.77.0.50,10.77.0.99',
    `--dhcp-leasefile=${folder}/house.leases`,
    `--pid-file=${folder}/house.pid`,
  ]);
  await dnsmasq.waitFor(/DHCP, IP range/);
}

test(
  'proxyDHCP beside the house’s DHCP server: BIOS',
  ...inRig(
    { role: 'proxy', before: houseServer, needs: { tools: ['dnsmasq', 'nasm'] } },
    async (rig) => {
      const name = 'proxy-bios';
      const mac = macOf(name);
      const disk = join(rig.folder, 'disk.img');
      const code = await readFile(await assemble(rig.folder, 'write.asm'));
      await makeDisk(disk, 16 * 1024 * 1024, { code });
      await rig.server.addMachine({ name, mac, drives: [disk] });
      const machine = await rig.boot({ name, mac, stage: 'bios-vendor' });
      await machine.serial.waitFor(/WROTE 80\n/, GUEST_LIMIT_MS);
      await rig.server.waitStage(mac, 'loader');
    },
  ),
);

test(
  'proxyDHCP beside the house’s DHCP server: UEFI',
  ...inRig(
    { role: 'proxy', before: houseServer, needs: { tools: ['dnsmasq', ...UEFI_TOOLS] } },
    async (rig) => {
      const name = 'proxy-uefi';
      const mac = macOf(name);
      await rig.server.addMachine({ name, mac, drives: [await uefiDisk(rig.folder)] });
      const machine = await rig.boot({ name, mac, stage: 'uefi-pxe' });
      await machine.serial.waitFor(new RegExp(UEFI_DISK_SAYS), GUEST_LIMIT_MS);
      await rig.server.waitStage(mac, 'loader');
    },
  ),
);
