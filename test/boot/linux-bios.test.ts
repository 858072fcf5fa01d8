import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DebianRoot, DebianShell, waitForPrompt } from './debian.ts';
import { debianDisk, kernelOf } from './images.ts';
import { inRig } from './rig.ts';
import { GUEST_LIMIT_MS, macOf } from '../lab/vm.ts';

test(
  'BIOS, network card with iPXE → Debian logs in, by CHAP both times',
  ...inRig({}, async (rig) => {
    const name = 'bios1';
    const mac = macOf(name);
    // iPXE proves the secret, and so does Linux, which finds it in the iBFT.
    const chap = { user: name, secret: 'a-secret-of-bios1' };
    await rig.server.addMachine({ name, mac, drives: [await debianDisk(rig.folder)], chap });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom' });
    const shell = await DebianShell.login(machine);
    for (const stage of ['ipxe', 'script', 'login', 'disk', 'os']) {
      await rig.server.waitStage(mac, stage);
    }
    assert.doesNotMatch(await shell.run('ls /sys/firmware'), /efi/);
    assert.match(await shell.run('cat /sys/firmware/ibft/target0/target-name'), /polyboot:bios1/);
    // A boot server may be away for longer than the two minutes that open-iscsi waits by itself.
    const waits = Number(await shell.run('cat /sys/class/iscsi_session/session1/recovery_tmo'));
    assert.ok(waits >= 3_600, `I/O fails after ${waits} s without the server`);
  }),
);

test(
  'kernel and initrd over HTTP, root on iSCSI',
  ...inRig({ needs: { tools: ['debugfs', 'sgdisk'] } }, async (rig) => {
    const name = 'kernel1';
    const mac = macOf(name);
    const image = await debianDisk(rig.folder);
    const { kernel, initrd, uuid } = await kernelOf(rig.folder, await DebianRoot.open(image));
    await rig.server.addMachine({
      name,
      mac,
      drives: [image],
      plan: {
        kind: 'kernel',
        kernel,
        initrd: [initrd],
        cmdline: `root=UUID=${uuid} ro console=ttyS0,115200 ip=dhcp iscsi_auto init=/bin/sh`,
      },
    });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom' });
    // A shell with no job control is what init=/bin/sh gives: the root is mounted, nothing runs.
    await waitForPrompt(machine);
    machine.serial.write(
      'echo "root"-is $(findmnt -no SOURCE /) $(cat /sys/block/sda/device/vendor)\r',
    );
    await machine.serial.waitFor(/root-is \/dev\/sda\d/, GUEST_LIMIT_MS);
  }),
);
