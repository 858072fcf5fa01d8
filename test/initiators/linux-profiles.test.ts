import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../lab/process.ts';
import { nodeOf } from './guest.ts';
import { inSite, NETWORKS } from './site.ts';
import { ExportedFile, LabTarget } from './targets.ts';

/** 12 characters at least (RFC 7143 §9.2.1). */
const SECRET = 'a-secret-of-20-chars';
const THEIRS = 'another-secret-here';

const chap = (user: string, secret: string): Record<string, string> => ({
  'node.session.auth.authmethod': 'CHAP',
  'node.session.auth.username': user,
  'node.session.auth.password': secret,
});

test(
  'CD-ROM, read-only and removable disks, and CHAP, in Linux',
  ...inSite(async ({ lab, guest, disk, folder }, step) => {
    await step('an ISO is a CD-ROM', async () => {
      const tree = join(folder, 'tree');
      const iso = join(folder, 'hello.iso');
      const content = randomBytes(3_000_000);
      await mkdir(tree);
      await writeFile(join(tree, 'noise'), content);
      await run('xorriso', ['-as', 'mkisofs', '-quiet', '-R', '-V', 'HELLO', '-o', iso, tree]);
      const target = await ExportedFile.start(lab, iso, { flags: ['--cdrom'] });
      const device = await guest.login(target);
      assert.match(device, /^\/dev\/sr\d$/);
      assert.equal(await guest.run(`blockdev --getss ${device}`), '2048');
      const sizeBytes = (await readFile(iso)).length;
      assert.equal(await guest.run(`isosize ${device}`), String(sizeBytes));
      assert.equal(await guest.run(`blkid -s LABEL -o value ${device}`), 'HELLO');
      await guest.run(`mount -o ro ${device} /mnt/a`);
      const sum = createHash('sha256').update(content).digest('hex');
      assert.match(await guest.run('sha256sum /mnt/a/noise'), new RegExp(`^${sum}`));
      // Mounted, the tray is locked; udev keeps it so for its own sake.
      const eject = `sg_start -v --eject ${device}`;
      assert.match(await guest.fails(eject), /[Mm]edium removal prevented/);
      await guest.run(
        `umount /mnt/a && udevadm settle && sg_prevent --allow ${device} && ${eject}`,
      );
      assert.match(await guest.fails(`sg_turs -v ${device}`), /[Mm]edium not present/);
      await guest.run(`sg_start --load ${device}; sg_turs ${device} || sg_turs ${device}`);
      assert.match(await guest.run(`sg_inq ${device}`), /PDT=5 {2}RMB=1/);
      await guest.logout(target);
      await target.process.stop();
    });

    await step('a read-only disk is one for Linux too', async () => {
      const file = await disk('fixed', 64);
      await run('mkfs.ext4', ['-q', '-F', file]);
      const before = await readFile(file);
      const target = await ExportedFile.start(lab, file, { flags: ['--read-only'] });
      const device = await guest.login(target);
      const name = device.replace('/dev/', '');
      assert.equal(await guest.run(`cat /sys/block/${name}/ro`), '1');
      assert.match(await guest.kernelMessages('sd.*Write Protect'), /Write Protect is on/);
      await guest.run(`mount -o ro ${device} /mnt/a && ls /mnt/a/lost+found && umount /mnt/a`);
      await guest.fails(`dd if=/dev/zero of=${device} bs=4k count=1 oflag=direct`);
      // Past the kernel's own refusal: the commands themselves.
      const generic = `/dev/${await guest.run(`ls /sys/block/${name}/device/scsi_generic`)}`;
      const write = `sg_raw -s 512 -i /dev/zero ${generic} 2a 00 00 00 00 00 00 00 01 00`;
      assert.match(await guest.fails(write), /Data Protect[^]*Write protected/i);
      assert.match(await guest.fails(`sg_unmap --force -l 0 -n 8 ${generic}`), /data protect/i);
      await guest.logout(target);
      await target.process.stop();
      assert.ok(before.equals(await readFile(file)), 'not a byte was written');
    });

    await step('a removable disk that writes through', async () => {
      const flags = ['--removable', '--cache', 'writethrough'];
      const target = await ExportedFile.start(lab, await disk('stick', 64), { flags });
      const device = await guest.login(target);
      const name = device.replace('/dev/', '');
      assert.equal(await guest.run(`cat /sys/block/${name}/removable`), '1');
      assert.equal(await guest.run(`cat /sys/block/${name}/queue/write_cache`), 'write through');
      await guest.run(`mkfs.ext4 -q -F ${device} && mount ${device} /mnt/a && umount /mnt/a`);
      await guest.logout(target);
      await target.process.stop();
    });

    await step('CHAP by `polyboot export`', async () => {
      const secretFile = join(folder, 'secret');
      await writeFile(secretFile, `${SECRET}\n`, { mode: 0o600 });
      const flags = ['--chap', 'machine', '--chap-secret-file', secretFile];
      const target = await ExportedFile.start(lab, await disk('locked', 16), { flags });
      await guest.addNode(target);
      assert.match(
        await guest.fails(`iscsiadm ${nodeOf(target)} --login`),
        /authorization failure/,
      );
      await guest.addNode(target, chap('machine', 'not-the-secret-at-all'));
      assert.match(
        await guest.fails(`iscsiadm ${nodeOf(target)} --login`),
        /authorization failure/,
      );
      await guest.login(target, chap('machine', SECRET));
      await guest.logout(target);
      await target.process.stop();
    });

    await step('mutual CHAP: Linux proves us, too', async () => {
      const portal = { address: NETWORKS[0].server, port: 3260 };
      const unit = { lun: 0, file: await disk('mutual', 16), serial: 'mutual' };
      const target = await LabTarget.start(lab, {
        portals: [portal],
        targets: [
          {
            iqn: 'iqn.2026-11.test:mutual',
            access: 'any',
            takeover: false,
            chap: { user: 'machine', secret: SECRET, mutualUser: 'server', mutualSecret: THEIRS },
            units: [unit],
          },
        ],
      });
      const name = target.name();
      const both = (secret: string): Record<string, string> => ({
        ...chap('machine', SECRET),
        'node.session.auth.username_in': 'server',
        'node.session.auth.password_in': secret,
      });
      await guest.addNode(name, both('not-our-secret-at-all'));
      await guest.fails(`iscsiadm ${nodeOf(name)} --login`);
      await guest.login(name, both(THEIRS));
      await guest.logout(name);
      await target.waitEvent('logout', 1);
      const logins = target.events.filter((e) => e.kind === 'login');
      assert.deepEqual(
        logins.map((e) => e.session.authenticated),
        [true],
      );
    });
  }),
);
