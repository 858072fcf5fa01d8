import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTextScreen } from '#vm/mod.ts';
import { GUEST_LIMIT_MS, macOf } from '../lab/vm.ts';
import { assemble, helloIso, ISO_SAYS } from './images.ts';
import { makeDisk, wholeDisk } from './mbr.ts';
import { inRig, usesPeers } from './rig.ts';
import { waitForScreen } from './screen.ts';

const MEMTEST = '/boot/memtest86+x64.bin';

test(
  'memtest86+ over HTTP',
  ...inRig({ needs: { files: [MEMTEST] } }, async (rig) => {
    const name = 'memtest';
    const mac = macOf(name);
    const plan = { kind: 'kernel', kernel: MEMTEST, initrd: [], cmdline: 'nosmp' } as const;
    await rig.server.addMachine({ name, mac, plan });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 128 });
    await waitForScreen(machine, /Memtest86\+/, GUEST_LIMIT_MS);
  }),
);

test(
  'an ISO over HTTP, read in ranges',
  ...inRig(
    { needs: { tools: ['xorriso'], files: ['/usr/lib/ISOLINUX/isolinux.bin'] } },
    async (rig) => {
      const name = 'iso1';
      const mac = macOf(name);
      const file = await helloIso(rig.folder);
      await rig.server.addMachine({ name, mac, plan: { kind: 'iso', file } });
      const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 128 });
      await waitForScreen(machine, new RegExp(ISO_SAYS), GUEST_LIMIT_MS);
    },
  ),
);

test(
  'an ISO as a CD-ROM over iSCSI',
  ...inRig(
    { needs: { tools: ['xorriso'], files: ['/usr/lib/ISOLINUX/isolinux.bin'] } },
    async (rig) => {
      if (usesPeers()) return; // they show it as a disk
      const name = 'cd1';
      const mac = macOf(name);
      const file = await helloIso(rig.folder);
      await rig.server.addMachine({ name, mac, drives: [file], plan: { kind: 'san' } });
      const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 128 });
      await waitForScreen(machine, new RegExp(ISO_SAYS), GUEST_LIMIT_MS);
    },
  ),
);

test(
  'a floppy in memory as drive A:, with the network disk beside it',
  ...inRig({ needs: { tools: ['nasm'], files: ['/usr/lib/syslinux/memdisk'] } }, async (rig) => {
    const name = 'floppy1';
    const mac = macOf(name);
    const boot = await readFile(await assemble(rig.folder, 'floppy.asm'));
    const file = join(rig.folder, 'floppy.img');
    await writeFile(file, Buffer.concat([boot], 1_474_560));
    const drive = join(rig.folder, 'disk.img');
    const sizeBytes = 261 * 255 * 63 * 512;
    await makeDisk(drive, sizeBytes, { entries: [wholeDisk(sizeBytes, 63, 255)] });
    const plan = { kind: 'floppy', file } as const;
    await rig.server.addMachine({ name, mac, drives: [drive], plan });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 64 });
    const screen = await waitForScreen(machine, /INSERT FLOPPY TWO/, GUEST_LIMIT_MS);
    assert.match(screen, /HEAD AND SECTOR FE3F\n\s*DISK READ/);
  }),
);

test(
  'two drives: the BIOS sees both in order, and what it writes is in both images',
  ...inRig({ needs: { tools: ['nasm'] } }, async (rig) => {
    const name = 'two';
    const mac = macOf(name);
    const code = await readFile(await assemble(rig.folder, 'write.asm'));
    const drives = ['first', 'second'].map((n) => join(rig.folder, `${n}.img`));
    for (const [n, file] of drives.entries()) {
      await makeDisk(file, 16 * 1024 * 1024, n === 0 ? { code } : {});
    }
    await rig.server.addMachine({ name, mac, drives });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 64 });
    await machine.serial.waitFor(/WROTE 81\n/, GUEST_LIMIT_MS);
    await machine.serial.waitFor(/NO DRIVE 82\n/, GUEST_LIMIT_MS);
    for (const [n, file] of drives.entries()) {
      const sector = (await readFile(file)).subarray(9 * 512, 9 * 512 + 17);
      assert.equal(sector.toString('latin1'), `DRIVE 8${n} WROTE IT`);
    }
  }),
);

test(
  'a machine that nobody knows gets a menu, and the server learns of it',
  ...inRig({}, async (rig, t) => {
    if (usesPeers()) return t.skip('the peers do not know unknown machines');
    const mac = macOf('stranger');
    const machine = await rig.boot({ name: 'stranger', mac, stage: 'ipxe-rom', memoryMib: 64 });
    // The menu is drawn line by line, and iPXE has shown the MAC before: its last line is awaited.
    const screen = await waitForScreen(machine, /iPXE shell/, GUEST_LIMIT_MS);
    assert.match(screen, /not set up yet/);
    assert.match(screen, new RegExp(mac));
    const listed = JSON.stringify(await rig.polyboot.cli('machine', 'list'));
    assert.match(listed, new RegExp(mac));
    assert.match(listed, /"registered":false/);
    assert.equal(
      (await readTextScreen(machine.qmp, machine.folder)).join('').includes('secret'),
      false,
    );
  }),
);

test(
  'CHAP: the right secret boots, a wrong one and none are refused',
  ...inRig({ needs: { tools: ['nasm'] } }, async (rig) => {
    const code = await readFile(await assemble(rig.folder, 'write.asm'));
    const file = join(rig.folder, 'secret.img');
    await makeDisk(file, 16 * 1024 * 1024, { code });
    const owner = macOf('owner');
    const chap = { user: 'owner', secret: 'correct-horse-battery' };
    await rig.server.addMachine({ name: 'owner', mac: owner, drives: [file], chap });
    const own = await rig.boot({ name: 'owner', mac: owner, stage: 'ipxe-rom', memoryMib: 64 });
    await own.serial.waitFor(/WROTE 80\n/, GUEST_LIMIT_MS);
    await own.stop();

    const hook = `sanhook --drive 0x80 ${rig.server.targetUrl('owner', 0)}`;
    const text = [
      '#!ipxe',
      'set initiator-iqn iqn.2026-11.org.polyboot:owner',
      'clear username',
      'clear password',
      `${hook} && echo NONE: ACCEPTED || echo NONE: REFUSED`,
      `set username ${chap.user}`,
      'set password wrong-horse-battery',
      `${hook} && echo WRONG: ACCEPTED || echo WRONG: REFUSED`,
      `set password ${chap.secret}`,
      `${hook} && echo RIGHT: ACCEPTED || echo RIGHT: REFUSED`,
      'shell',
      '',
    ].join('\n');
    const thief = macOf('thief');
    await rig.server.addMachine({ name: 'thief', mac: thief, plan: { kind: 'script', text } });
    const guest = await rig.boot({ name: 'thief', mac: thief, stage: 'ipxe-rom', memoryMib: 64 });
    const screen = await waitForScreen(guest, /RIGHT: [AR]/, GUEST_LIMIT_MS);
    assert.match(screen, /NONE: REFUSED/);
    assert.match(screen, /WRONG: REFUSED/);
    assert.match(screen, /RIGHT: ACCEPTED/);
  }),
);
