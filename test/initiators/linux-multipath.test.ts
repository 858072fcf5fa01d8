import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../lab/process.ts';
import type { InitiatorGuest } from './guest.ts';
import { Load } from './load.ts';
import { inSite, NETWORKS } from './site.ts';
import { LabTarget } from './targets.ts';

const LOG = '/run/multipathd.log';
const CONFIG = `defaults {
  polling_interval 1
  max_polling_interval 1
  find_multipaths no
  no_path_retry queue
}
blacklist {
  devnode "^vd"
}
`;

/** A dead path is given up after 5 s instead of 130. */
const IMPATIENT = {
  'node.conn[0].timeo.noop_out_interval': '1',
  'node.conn[0].timeo.noop_out_timeout': '2',
  'node.session.timeo.replacement_timeout': '2',
};

test(
  'multipath over two portals',
  ...inSite(async ({ lab, guest, disk, folder }, step) => {
    const file = await disk('paths', 256);
    const config = {
      portals: NETWORKS.map((n) => ({ address: n.server, port: 3260 })),
      targets: [
        {
          iqn: 'iqn.2026-11.test:paths',
          access: 'any',
          takeover: false,
          units: [{ lun: 0, file, serial: 'paths', stateFolder: join(folder, 'state') }],
        },
      ],
    } as const;
    let target = await LabTarget.start(lab, config);
    const ways = [target.name(0, 0), target.name(0, 1)] as const;
    const paths: string[] = [];

    await step('both portals are found, and each gives a session of its own', async () => {
      await guest.write('/etc/multipath.conf', CONFIG);
      await guest.run('modprobe dm-multipath');
      await guest.start('multipathd -d -s', LOG);
      const found = await guest.run(`iscsiadm -m discovery -t sendtargets -p ${ways[0].portal}`);
      assert.deepEqual(
        found.split('\n').sort(),
        ways.map((w) => `${w.portal},1 ${w.iqn}`),
      );
      for (const way of ways) paths.push(await guest.login(way, IMPATIENT));
      // Discovery is one, too.
      await target.waitEvent('login', 3);
      const isids = target.events.flatMap((e) => (e.kind === 'login' ? [e.session.isid] : []));
      assert.equal(new Set(isids.slice(1)).size, 2, String(isids));
    });
    await step('they are one map, by what VPD 83h says', async () => {
      await guest.waitLog(LOG, 'sdb.*path added to devmap', 0);
      const maps = await guest.run('multipath -ll');
      assert.match(maps, /dm-0 POLYBOOT,LAB\nsize=256M .*wp=rw/);
      assert.equal(maps.match(/active ready running/g)?.length, 2, maps);
    });

    await step('a load goes on when one way is cut, then the other', async () => {
      await guest.run('mkfs.ext4 -q -F /dev/dm-0 && mount /dev/dm-0 /mnt/a');
      const load = await Load.start(guest, '/mnt/a');
      for (const port of [0, 1]) {
        const before = await guest.logEnd(LOG);
        await guest.link(port, false);
        await guest.waitLog(LOG, 'remaining active paths: 1', before);
        await load.rounds(2);
        assert.equal((await readyPaths(guest)).length, 1);
        await guest.link(port, true);
        await guest.waitLog(LOG, 'remaining active paths: 2', before);
        await load.rounds(1);
      }
      await load.stop();
      await guest.run('umount /mnt/a');
      await run('e2fsck', ['-f', '-n', file]);
    });

    const [a = '', b = ''] = paths;

    await step('a persistent reservation of one path keeps the other out', async () => {
      // It may end before it has answered.
      await guest.run('multipath -F && { multipathd shutdown || :; }');
      await guest.run('while pidof multipathd >/dev/null; do :; done');
      await guest.silenceUdev();
      assert.match(
        await guest.run(`sg_persist -c ${a}`),
        /Persist Through Power Loss Capable\(PTPL_C\): 1/,
      );
      await persist(guest, a, '--register --param-sark=0xa1');
      await persist(guest, b, '--register --param-sark=0xb2');
      assert.deepEqual(await keys(guest, b), ['0xa1', '0xb2']);
      await persist(guest, a, '--reserve --param-rk=0xa1 --prout-type=1');
      assert.deepEqual(await reservation(guest, b), ['0xa1', 'Write Exclusive']);
      await guest.run(direct.read(b));
      assert.match(await guest.fails(direct.write(b)), CONFLICT);
      await guest.run(direct.write(a));
      await refused(guest, b, '--reserve --param-rk=0xb2 --prout-type=1');
      await persist(guest, a, '--release --param-rk=0xa1 --prout-type=1');
      await persist(guest, a, '--reserve --param-rk=0xa1 --prout-type=6');
      await guest.run(`${direct.write(b)} && ${direct.read(b)}`);
      await persist(guest, b, '--register --param-rk=0xb2 --param-sark=0');
      assert.match(await guest.fails(direct.read(b)), CONFLICT);
    });

    await step('preempting throws the first one out', async () => {
      await persist(guest, b, '--register --param-sark=0xb2');
      await refused(guest, b, '--preempt --param-rk=0xbad --param-sark=0xa1 --prout-type=3');
      await persist(guest, b, '--preempt --param-rk=0xb2 --param-sark=0xa1 --prout-type=3');
      assert.deepEqual(await keys(guest, b), ['0xb2']);
      assert.deepEqual(await reservation(guest, b), ['0xb2', 'Exclusive Access']);
      // The first command learns of it by unit attention.
      assert.match(await guest.fails(`sg_turs -v ${a}`), /Registrations preempted/i);
      assert.match(await guest.fails(direct.read(a)), CONFLICT);
      await persist(guest, a, '--register-ignore --param-sark=0xa3');
      await persist(guest, a, '--preempt-abort --param-rk=0xa3 --param-sark=0xb2 --prout-type=1');
      assert.deepEqual(await reservation(guest, a), ['0xa3', 'Write Exclusive']);
      await persist(guest, a, '--clear --param-rk=0xa3');
      assert.deepEqual(await keys(guest, a), []);
    });

    await step('a reservation with APTPL outlives kill -9', async () => {
      await persist(guest, a, '--register --param-aptpl --param-sark=0xa1');
      await persist(guest, a, '--reserve --param-rk=0xa1 --prout-type=1');
      await target.process.stop('SIGKILL');
      target = await LabTarget.start(lab, config);
      await target.waitEvent('login', 2);
      // The target is ahead of the guest, whose commands fail as long as it thinks a path is gone.
      for (const path of paths) await running(guest, path);
      // The first command is told of the power on.
      for (const path of paths) await guest.run(`sg_turs ${path} || true`);
      assert.deepEqual(await reservation(guest, b), ['0xa1', 'Write Exclusive']);
      assert.match(await guest.fails(direct.write(b)), CONFLICT);
      await guest.run(direct.write(a));
      await persist(guest, a, '--clear --param-rk=0xa1');
      await guest.run(direct.write(b));
    });

    for (const way of ways) await guest.logout(way);
  }),
);

/** What the kernel makes of RESERVATION CONFLICT: EBADE. */
const CONFLICT = /Invalid exchange/;

/** One block, not through the page cache. */
const direct = {
  read: (device: string): string => `dd if=${device} of=/dev/null bs=4k count=1 iflag=direct`,
  write: (device: string): string => `dd if=/dev/zero of=${device} bs=4k count=1 oflag=direct`,
};

async function persist(guest: InitiatorGuest, device: string, words: string): Promise<void> {
  await guest.run(`sg_persist -o ${words} ${device}`);
}

/** A PERSISTENT RESERVE OUT that ends in RESERVATION CONFLICT. */
async function refused(guest: InitiatorGuest, device: string, words: string): Promise<void> {
  assert.match(await guest.fails(`sg_persist -o ${words} ${device}`), /[Rr]eservation conflict/);
}

/** Waits until the guest sends commands to a disk again. */
async function running(guest: InitiatorGuest, device: string): Promise<void> {
  const state = `/sys/block/${device.replace('/dev/', '')}/device/state`;
  await guest.run(`until grep -q running ${state}; do sleep 0.1; done`);
}

/** The registered keys, sorted. */
async function keys(guest: InitiatorGuest, device: string): Promise<string[]> {
  const text = await guest.run(`sg_persist -k ${device}`);
  return [...text.matchAll(/^\s+(0x[0-9a-f]+)$/gm)].map((m) => m[1] ?? '').sort();
}

/** Key and type of the reservation. */
async function reservation(guest: InitiatorGuest, device: string): Promise<string[]> {
  const text = await guest.run(`sg_persist -r ${device}`);
  const found = /Key=(0x[0-9a-f]+)[^]*type: ([^\n]+)/.exec(text);
  return found === null ? [] : [found[1] ?? '', found[2] ?? ''];
}

/** The paths that multipathd finds in order. */
async function readyPaths(guest: InitiatorGuest): Promise<string[]> {
  const paths = await guest.run('multipathd show paths raw format "%d %t"');
  return paths.split('\n').filter((line) => line.endsWith(' active'));
}
