import assert from 'node:assert/strict';
import { macOf } from '../lab/vm.ts';
import { DebianRoot, DebianShell } from './debian.ts';
import { debianDisk } from './images.ts';
import { scenario, usesPeers } from './rig.ts';

/** A guest that writes all the time: each line is on the disk before the next is begun. */
const WRITER = `sh -c 'n=0; while :; do n=$((n+1)); echo line $n >>/root/log; sync /root/log; done'`;
const COUNT = 'wc -l </root/log';

scenario(
  'kill -9 of the server while a Linux guest writes: it goes on, and its file system is clean',
  { needs: { tools: ['debugfs', 'sgdisk', 'e2fsck'] } },
  async (rig, t) => {
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
      await shell.run(`until [ "$(${COUNT})" -gt ${more} ]; do sleep 0.1; done`, 120_000);
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
  },
);
