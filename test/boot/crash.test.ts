import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GUEST_LIMIT_MS, macOf } from '../lab/vm.ts';
import { DebianRoot, DebianShell } from './debian.ts';
import { assemble, debianDisk } from './images.ts';
import { makeDisk } from './mbr.ts';
import { inRig, usesPeers } from './rig.ts';

/** A guest that writes all the time: each line is on the disk before the next is begun. */
const WRITER = `sh -c 'n=0; while :; do n=$((n+1)); echo line $n >>/root/log; sync /root/log; done'`;
const COUNT = 'wc -l </root/log';

test(
  'kill -9 of the server while a Linux guest writes: it goes on, and its file system is clean',
  ...inRig({ needs: { tools: ['debugfs', 'sgdisk', 'e2fsck'] } }, async (rig, t) => {
    if (usesPeers()) return t.skip('the peers are not killed');
    const name = 'writer';
    const mac = macOf(name);
    const image = await debianDisk(rig.folder);
    await rig.server.addMachine({ name, mac, drives: [image] });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom' });
    const shell = await DebianShell.login(machine);
    await shell.start(WRITER);
    await shell.run(`until [ "$(${COUNT})" -gt 20 ]; do sleep 0.1; done`);
    let before = 0;
    for (let round = 0; round < 3; round++) {
      before = Number(await shell.run(COUNT));
      await rig.server.crash();
      // open-iscsi notices, logs in again and repeats what was not answered.
      const more = before + 20;
      await shell.run(`until [ "$(${COUNT})" -gt ${more} ]; do sleep 0.1; done`, GUEST_LIMIT_MS);
    }
    await shell.run('pkill -f root/log; sync');
    const last = Number(await shell.run(COUNT));
    await shell.powerOff();
    const root = await DebianRoot.open(image);
    await root.assertClean();
    const lines = (await root.read('/root/log')).trimEnd().split('\n');
    assert.ok(last > before && lines.length >= last, `${lines.length} lines, ${last} were synced`);
    assert.deepEqual(
      lines,
      lines.map((_, n) => `line ${n + 1}`),
    );
  }),
);

/** Sectors 2 to 63 of the first track: what the pump writes, one number after the other. */
const PUMP_SECTORS = 62;

test(
  'kill -9 of the server under a guest that knows only INT 13h: no write fails, none is lost',
  ...inRig({ needs: { tools: ['nasm'] } }, async (rig, t) => {
    if (usesPeers()) return t.skip('the peers are not killed');
    const name = 'pump';
    const mac = macOf(name);
    const image = join(rig.folder, 'pump.img');
    await makeDisk(image, 16 * 1024 * 1024, {
      code: await readFile(await assemble(rig.folder, 'pump.asm')),
    });
    await rig.server.addMachine({ name, mac, drives: [image] });
    const machine = await rig.boot({ name, mac, stage: 'ipxe-rom', memoryMib: 64 });
    await machine.serial.waitFor(/W 00100\n/, GUEST_LIMIT_MS);
    for (let round = 0; round < 3; round++) {
      await rig.server.crash();
      const goal = String(lastWritten(machine.serial.text) + 20).padStart(5, '0');
      await machine.serial.waitFor(new RegExp(`W ${goal}\\n`), GUEST_LIMIT_MS);
    }
    await machine.stop();
    assert.doesNotMatch(machine.serial.text, /E \d+/);
    const last = lastWritten(machine.serial.text);
    const disk = await readFile(image);
    for (let n = last; n > last - PUMP_SECTORS + 1; n--) {
      const at = 512 * (1 + ((n - 1) % PUMP_SECTORS));
      const found = Number(disk.subarray(at, at + 5).toString('latin1'));
      // One write more may have been done and not yet said.
      assert.ok(found === n || found === n + PUMP_SECTORS, `sector of ${n} holds ${found}`);
    }
  }),
);

/** The last number whose write the guest saw done. */
function lastWritten(text: string): number {
  return Number([...text.matchAll(/W (\d+)\n/g)].at(-1)?.[1]);
}
