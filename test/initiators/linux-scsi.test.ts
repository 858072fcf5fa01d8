import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inSite, NETWORKS } from './site.ts';
import { LabTarget } from './targets.ts';

const IQN = 'iqn.2026-11.test:scsi';

/** A command of sg3-utils without its device, and what it must print and end with. */
type Row = readonly [command: string, prints: RegExp, exit?: number];

/** sg3-utils' own exit codes. */
const Exit = {
  ILLEGAL_REQUEST: 5,
  UNIT_ATTENTION: 6,
  INVALID_OPCODE: 9,
  MISCOMPARE: 14,
  LBA_OUT_OF_RANGE: 22,
} as const;

const DESCRIBES: readonly Row[] = [
  ['sg_inq', /CmdQue=1[^]*POLYBOOT[^]*Unit serial number: main/],
  ['sg_inq -d', /SAM-5[^]*SPC-4[^]*iSCSI[^]*SBC-3/],
  ['sg_vpd -a', /^Unit serial number VPD page/m],
  ['sg_vpd -p sn', /Unit serial number: main/],
  [
    'sg_vpd -p di',
    /NAA[^]*0x36d61696e[^]*T10 vendor[^]*Relative target port: 0x1[^]*test:scsi,t,0x0001/,
  ],
  ['sg_vpd -p ei', /LUICLR=1/],
  ['sg_vpd -p mpp', /all modes pages[^]*shared/],
  ['sg_vpd -p tpc', /Extended copy\(LID1\)/],
  ['sg_vpd -p bl', /compare and write length: 255[^]*Maximum unmap LBA count: 1048576/],
  ['sg_vpd -p bdc', /Non-rotating medium/],
  ['sg_vpd -p lbpv', /LBPU\): 1[^]*LBPWS\): 1[^]*LBPRZ\): 1[^]*thin provisioned/],
  ['sg_readcap', /Number of logical blocks=131072\s+Logical block length=512/],
  ['sg_readcap -l', /lbpme=1, lbprz=1[^]*Device size: 67108864 bytes/],
  ['sg_luns', /imples 2 lun entries/],
  ['sg_modes -a', /WP=0, DpoFua=1[^]*>> Caching[^]*>> Control[^]*>> Informational/],
  ['sg_opcodes', /Unmap[^]*Compare and write[^]*Write same\(16\)[^]*Get LBA status/],
  ['sg_opcodes -o 0x88', /Read\(16\)[^]*Usage data: 88/],
  ['sg_opcodes --tmf', /Abort task\n[^]*Logical unit reset/],
  ['sg_turs -n 50', /50 .* with 0 errors/],
  ['sg_logs -a', /Informational Exceptions page {2}\[0x2f\]/],
  ['sg_requests', /No Sense/],
  ['sg_rtpg -d', /active\/optimized[^]*Relative target port ids:\s+0x01/],
  ['sg_senddiag -t', /GOOD status/],
  ['sg_copy_results -p', /Maximum segment length: 268435456 bytes/],
];

/** In this order; /run/a and /run/b are a block of noise each. */
const WRITES: readonly Row[] = [
  ['sg_write_same -l 0 -n 256 -i /run/b', /^$/],
  ['sg_verify -l 0 -c 1 -n 512 -i /run/b', /^$/],
  ['sg_verify -l 255 -c 1 -n 512 -i /run/b', /^$/],
  ['sg_verify -l 256 -c 1 -n 512 -i /run/b', /MISCOMPARE/, Exit.MISCOMPARE],
  ['sg_verify -l 0 -c 131072', /^$/],
  ['sg_get_lba_status -l 0', /blocks: +256 {2}mapped/],
  ['sg_unmap --force -l 8 -n 16', /^$/],
  ['sg_get_lba_status -l 8', /blocks: +16 {2}deallocated/],
  ['sg_verify -l 7 -c 1 -n 512 -i /run/b', /^$/],
  ['sg_verify -l 8 -c 1 -n 512 -i /run/zeros', /^$/],
  ['sg_verify -l 24 -c 1 -n 512 -i /run/b', /^$/],
  ['sg_write_same -U -l 24 -n 8', /^$/],
  ['sg_get_lba_status -l 8', /blocks: +24 {2}deallocated/],
  ['sg_write_same --16 --ndob -l 32 -n 8', /^$/],
  ['sg_verify -l 39 -c 1 -n 512 -i /run/zeros', /^$/],
  ['sg_compare_and_write -i /run/zeros-a -n 1 -l 1000', /^$/],
  ['sg_compare_and_write -i /run/zeros-a -n 1 -l 1000', /byte offset: 0 /, Exit.MISCOMPARE],
  ['sg_compare_and_write -i /run/a-b -n 1 -l 1000', /^$/],
  ['sg_verify -l 1000 -c 1 -n 512 -i /run/b', /^$/],
  ['sg_write_verify -i /run/a -I 512 -l 1000 -n 1', /^$/],
  ['sg_verify -l 1000 -c 1 -n 512 -i /run/a', /^$/],
  ['sg_sync', /^$/],
  ['sg_sync --16 -l 1000 -c 8', /^$/],
  // A stop only flushes: the next boot finds a disk that needs no button pressed.
  ['sg_start --stop', /^$/],
  ['sg_turs', /^$/],
  ['sg_start --start', /^$/],
  ['sg_turs', /^$/],
];

/** What a disk of ours does not do, and says so. */
const REFUSALS: readonly Row[] = [
  ['sg_format -F -Q -e', /Invalid opcode/, Exit.INVALID_OPCODE],
  ['sg_read_buffer', /Invalid opcode/, Exit.INVALID_OPCODE],
  ['sg_prevent', /Invalid opcode/, Exit.INVALID_OPCODE],
  ['sg_ident', /Illegal request/, Exit.ILLEGAL_REQUEST],
  ['sg_sanitize --crypto -Q -w', /Illegal request/, Exit.ILLEGAL_REQUEST],
  ['sg_verify -l 131072 -c 1', /LBA out of range/, Exit.LBA_OUT_OF_RANGE],
];

test(
  "sg3-utils' commands against our disk",
  ...inSite(async ({ lab, guest, disk }, step) => {
    const portal = { address: NETWORKS[0].server, port: 3260 };
    const units = [
      { lun: 0, file: await disk('main', 64), serial: 'main' },
      { lun: 1, file: await disk('spare', 32), serial: 'spare' },
    ];
    const target = await LabTarget.start(lab, {
      portals: [portal],
      targets: [{ iqn: IQN, access: 'any', takeover: false, units }],
    });
    const main = await guest.login(target.name());
    const spare = await guest.disk(target.name(), 1);
    await guest.silenceUdev();
    const check = async (device: string, rows: readonly Row[]): Promise<void> => {
      const wrong: string[] = [];
      for (const [command, prints, exit = 0] of rows) {
        const said = await guest.run(`${command} ${device} 2>&1; echo "exit $?"`);
        const [, text = '', code] = /^([^]*?)\s*exit (\d+)$/.exec(said) ?? [];
        if (code !== String(exit) || !prints.test(text)) {
          wrong.push(`${command}: exit ${code}, expected ${exit} and ${prints}\n${text}`);
        }
      }
      assert.deepEqual(wrong, []);
    };

    await step('what it says of itself', async () => {
      await check(main, DESCRIBES);
    });

    await step('writing, verifying, unmapping', async () => {
      for (const name of ['a', 'b']) await guest.run(`head -c 512 /dev/urandom >/run/${name}`);
      await guest.run('head -c 512 /dev/zero >/run/zeros && cat /run/zeros /run/a >/run/zeros-a');
      await guest.run('cat /run/a /run/b >/run/a-b');
      await check(main, WRITES);
    });

    await step('one disk copies to the other by itself', async () => {
      await guest.run(`dd if=/dev/urandom of=${main} bs=64k count=16 oflag=direct`);
      await guest.run(`sg_xcopy if=${main} of=${spare} bs=512 count=2048`);
      await guest.run(`echo 3 >/proc/sys/vm/drop_caches && cmp -n 1048576 ${main} ${spare}`);
    });

    await step('SANITIZE leaves nothing of the spare one', async () => {
      await check(spare, [
        ['sg_sanitize --overwrite --zero -Q -w', /serial number: spare/],
        ['sg_get_lba_status -l 0', /mapped/],
        ['sg_sanitize --block -Q -w', /serial number: spare/],
        ['sg_get_lba_status -l 0', /blocks: +65536 {2}deallocated/],
      ]);
      await guest.run(`echo 3 >/proc/sys/vm/drop_caches && cmp -n 1048576 ${spare} /dev/zero`);
    });

    await step('what it does not do', async () => {
      await check(main, REFUSALS);
    });

    await step('a logical unit reset is told', async () => {
      await check(main, [
        ['sg_reset -d', /^$/],
        ['sg_turs -v', /Bus device reset function occurred/, Exit.UNIT_ATTENTION],
        ['sg_turs', /^$/],
      ]);
    });
    await guest.logout(target.name());
  }),
);
