import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TargetEvent } from '#iscsi/mod.ts';
import { run } from '../lab/process.ts';
import { Load } from './load.ts';
import { inSite, NETWORKS } from './site.ts';
import { ExportedFile, LabTarget } from './targets.ts';

/** What iscsid would find out in 10 s, in 3. */
const IMPATIENT = {
  'node.conn[0].timeo.noop_out_interval': '1',
  'node.conn[0].timeo.noop_out_timeout': '2',
};

/** Messages of a disk whose I/O failed; a connection may well break. */
const IO_ERRORS = 'I/O error|Sense Key : (Medium|Hardware|Aborted)|EXT4-fs error|Buffer';

test(
  'a verified load outlives the network and the target',
  ...inSite(async ({ lab, guest, disk }, step) => {
    await step('the network is unplugged under load, and plugged in again', async () => {
      const file = await disk('unplugged', 256);
      const portal = { address: NETWORKS[0].server, port: 3260 };
      const target = await LabTarget.start(lab, {
        portals: [portal],
        targets: [
          {
            iqn: 'iqn.2026-11.test:unplugged',
            access: 'any',
            takeover: false,
            units: [{ lun: 0, file, serial: 'unplugged' }],
          },
        ],
      });
      const device = await guest.login(target.name(), IMPATIENT);
      await guest.run(`mkfs.ext4 -q ${device} && mount ${device} /mnt/a`);
      const load = await Load.start(guest, '/mnt/a');
      const kernelSays = await guest.followKernel();
      await guest.link(0, false);
      await kernelSays(/detected conn error/);
      await guest.link(0, true);
      await target.waitEvent('login', 2);
      await load.rounds(2);
      await load.stop();
      await guest.run('umount /mnt/a');
      await guest.logout(target.name());
      await target.process.stop();
      // Where everything is slow the guest may lose its patience more than once.
      assert.match(kinds(target.events).join(' '), /^login( lost login)+ logout$/);
      await run('e2fsck', ['-f', '-n', file]);
    });

    await step('kill -9 of `polyboot export` under load, and a new one at its place', async () => {
      const file = await disk('killed', 256);
      let target = await ExportedFile.start(lab, file);
      const device = await guest.login(target);
      await guest.run(`mkfs.ext4 -q ${device} && mount ${device} /mnt/a`);
      const load = await Load.start(guest, '/mnt/a');
      for (let kill = 0; kill < 3; kill++) {
        await target.process.stop('SIGKILL');
        target = await ExportedFile.start(lab, file, { port: target.port });
        await load.rounds(2);
      }
      await load.stop();
      await guest.run('umount /mnt/a');
      await guest.logout(target);
      await target.process.stop();
      await run('e2fsck', ['-f', '-n', file]);
    });

    await step('no I/O failed in the guest', async () => {
      assert.equal(await guest.kernelMessages(IO_ERRORS), '');
      assert.match(await guest.kernelMessages('conn error'), /conn error/);
    });
  }),
);

/** What happened to the sessions; however the end of one was noticed, it was lost. */
function kinds(events: readonly TargetEvent[]): string[] {
  const ends = ['connection-lost', 'session-fenced'];
  return events
    .filter((e) => !e.kind.startsWith('first-'))
    .map((e) => (ends.includes(e.kind) ? 'lost' : e.kind));
}
