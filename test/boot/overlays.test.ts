import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import { macOf, type FirstStage } from '../lab/vm.ts';
import { DebianShell } from './debian.ts';
import { debianDisk } from './images.ts';
import { inRig, usesPeers, type Rig } from './rig.ts';

type Pupil = { readonly name: string; readonly stage: FirstStage; readonly mode: string };

const PUPILS: readonly Pupil[] = [
  { name: 'fresh1', stage: 'ipxe-rom', mode: 'overlay-fresh' },
  { name: 'kept1', stage: 'uefi-pxe', mode: 'overlay-kept' },
];

/** Boots both at once, lets each leave a mark, and shuts them down; what each found before. */
async function lesson(rig: Rig, mark: string): Promise<string[]> {
  return await Promise.all(
    PUPILS.map(async ({ name, stage }) => {
      const machine = await rig.boot({ name, mac: macOf(name), stage });
      const shell = await DebianShell.login(machine);
      const found = await shell.run('cat /root/mark 2>/dev/null || echo none');
      await shell.run(`echo ${mark} > /root/mark`);
      await shell.powerOff();
      return found;
    }),
  );
}

test(
  'a golden Debian boots two machines at once, each on its overlay: one forgets, one keeps',
  ...inRig({}, async (rig, t) => {
    if (usesPeers()) return t.skip('the peers have no overlays');
    const base = await debianDisk(rig.folder, 'golden');
    const polyboot = (...args: string[]): Promise<unknown> => rig.polyboot.cli(...args);
    await polyboot('image', 'add', base, '--name', 'golden');
    await polyboot('image', 'freeze', 'golden', '--comment', 'for the class');
    for (const { name, mode } of PUPILS) {
      await polyboot('machine', 'add', name, '--mac', macOf(name), '--drive', `golden:${mode}`);
    }
    const before = await stat(base);
    assert.deepEqual(await lesson(rig, 'monday'), ['none', 'none']);
    assert.deepEqual(await lesson(rig, 'tuesday'), ['none', 'monday']);
    const after = await stat(base);
    assert.equal(after.mtimeMs, before.mtimeMs, 'nobody wrote to the base');
    assert.equal(after.blocks, before.blocks);
  }),
);
