import assert from 'node:assert/strict';
import { stat, truncate } from 'node:fs/promises';
import { test } from 'node:test';
import { run } from '../lab/process.ts';
import { Load } from './load.ts';
import { KERNEL_ERRORS } from './guest.ts';
import { inSite } from './site.ts';
import { ExportedFile } from './targets.ts';

const MIB = 2 ** 20;

/** MiB of a file that take space on the host. */
async function usedMib(file: string): Promise<number> {
  return ((await stat(file)).blocks * 512) / MIB;
}

test(
  "Linux's own initiator and our disk: from discovery to fstrim",
  ...inSite(async ({ lab, guest, disk }, step) => {
    const file = await disk('data', 256);
    const target = await ExportedFile.start(lab, file);
    let device = '';
    let name = '';

    await step('discovery finds the target; login takes our offer', async () => {
      const found = await guest.run(`iscsiadm -m discovery -t sendtargets -p ${target.portal}`);
      assert.equal(found, `${target.portal},1 ${target.iqn}`);
      device = await guest.login(target);
      name = device.replace('/dev/', '');
      const session = await guest.run('iscsiadm -m session -P 3');
      // open-iscsi's own default is 256 KiB first and 16 MiB after; the rest is what we ask.
      for (const line of [
        'HeaderDigest: None',
        'DataDigest: None',
        'MaxXmitDataSegmentLength: 1048576',
        'FirstBurstLength: 262144',
        'MaxBurstLength: 4194304',
        'ImmediateData: Yes',
        'InitialR2T: No',
        `Attached scsi disk ${name}\t\tState: running`,
      ]) {
        assert.ok(session.includes(line), `${line}\n${session}`);
      }
    });

    await step('the kernel sees a thin disk with a write cache', async () => {
      const queue = async (entry: string): Promise<string> =>
        await guest.run(`cat /sys/block/${name}/${entry}`);
      assert.equal(await queue('queue/write_cache'), 'write back');
      assert.equal(await queue('queue/fua'), '1');
      assert.equal(await queue('queue/rotational'), '0');
      assert.equal(await queue('queue/logical_block_size'), '512');
      assert.equal(await queue('ro'), '0');
      assert.equal(await queue('removable'), '0');
      assert.ok(Number(await queue('queue/discard_max_bytes')) >= 512 * MIB);
      assert.ok(Number(await queue('queue/write_zeroes_max_bytes')) >= 512 * MIB);
      assert.equal(await guest.run(`blockdev --getsize64 ${device}`), String(256 * MIB));
      const pages = await guest.run(`ls /sys/block/${name}/device`);
      for (const page of ['80', '83', 'b0', 'b1', 'b2'])
        assert.match(pages, new RegExp(`pg${page}`));
      const links = await guest.run(`udevadm info -q symlink ${device}`);
      assert.match(links, /disk\/by-id\/wwn-0x3[0-9a-f]{15}\b/);
    });

    await step('a file system under a verified load', async () => {
      await guest.run(`mkfs.ext4 -q -F ${device} && mount ${device} /mnt/a`);
      const load = await Load.start(guest, '/mnt/a');
      await load.rounds(2);
      await load.stop();
    });

    await step('fstrim and blkdiscard give the space back on the host', async () => {
      await guest.run('rm -r /mnt/a/found && sync && fstrim /mnt/a');
      const empty = await usedMib(file);
      await guest.run('head -c 40M /dev/urandom >/mnt/a/big && sync');
      const full = await usedMib(file);
      assert.ok(full >= empty + 40, `${empty} MiB, then ${full} MiB`);
      await guest.run('rm /mnt/a/big && sync && fstrim /mnt/a');
      const trimmed = await usedMib(file);
      assert.ok(trimmed <= empty + 2, `${empty} MiB, full ${full}, trimmed ${trimmed} MiB`);
      await guest.run('umount /mnt/a');
      await run('e2fsck', ['-f', '-n', file]);
      await guest.run(`blkdiscard -f ${device}`);
      assert.equal(await usedMib(file), 0);
      await guest.run(`cmp -n 8388608 ${device} /dev/zero`);
    });

    await guest.logout(target);
    await target.process.stop();

    await step('with CRC32C over headers and data', async () => {
      const careful = await ExportedFile.start(lab, file, { flags: ['--digests'] });
      const checked = await guest.login(careful, {
        'node.conn[0].iscsi.HeaderDigest': 'CRC32C',
        'node.conn[0].iscsi.DataDigest': 'CRC32C',
      });
      const session = await guest.run('iscsiadm -m session -P 2');
      assert.match(session, /HeaderDigest: CRC32C\n\s+DataDigest: CRC32C/);
      await guest.run(`mkfs.ext4 -q -F ${checked} && mount ${checked} /mnt/a`);
      const load = await Load.start(guest, '/mnt/a');
      await load.stop();
      await guest.run('umount /mnt/a');
      await guest.logout(careful);
      await careful.process.stop();
      await run('e2fsck', ['-f', '-n', file]);
    });

    await step('the disk grows while it is mounted', async () => {
      const growing = await ExportedFile.start(lab, file);
      const disk = await guest.login(growing);
      await guest.run(`mount ${disk} /mnt/a`);
      const blocks = async (): Promise<number> => Number(await guest.run('stat -f -c %b /mnt/a'));
      const before = await blocks();
      const load = await Load.start(guest, '/mnt/a');
      const kernelSays = await guest.followKernel();
      await truncate(file, 384 * MIB);
      growing.process.child.kill('SIGHUP');
      await kernelSays(/Capacity data has changed/);
      await guest.run('iscsiadm -m session -R');
      assert.equal(await guest.run(`blockdev --getsize64 ${disk}`), String(384 * MIB));
      assert.match(
        await guest.kernelMessages(disk.replace('/dev/', '')),
        /detected capacity change/,
      );
      await guest.run(`resize2fs ${disk}`);
      assert.ok((await blocks()) > before * 1.4);
      await load.rounds(1);
      await load.stop();
      await guest.run('umount /mnt/a');
      await guest.logout(growing);
      await growing.process.stop();
      await run('e2fsck', ['-f', '-n', file]);
    });

    await step('no error was logged by the kernel', async () => {
      assert.equal(await guest.kernelMessages(KERNEL_ERRORS), '');
    });
  }),
);
