import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DebianRoot, DebianShell } from './debian.ts';
import { debianDisk } from './images.ts';
import { inRig } from './rig.ts';

test(
  'UEFI PXE → snponly.efi → Debian: what it writes is in the image after power-off',
  ...inRig({ needs: { tools: ['debugfs', 'sgdisk', 'e2fsck'] } }, async (rig) => {
    const mac = '52:54:00:77:00:01';
    const image = await debianDisk(rig.folder);
    await rig.server.addMachine({ name: 'uefi1', mac, drives: [image] });
    const machine = await rig.boot({ name: 'uefi1', mac, stage: 'uefi-pxe' });
    const shell = await DebianShell.login(machine);
    await rig.server.waitStage(mac, 'loader');
    await rig.server.waitStage(mac, 'os');
    assert.match(await shell.run('ls /sys/firmware'), /efi/);
    await shell.run('echo written by the guest >/root/proof');
    await shell.powerOff();
    const root = await DebianRoot.open(image);
    assert.equal(await root.read('/root/proof'), 'written by the guest\n');
    await root.assertClean();
  }),
);
