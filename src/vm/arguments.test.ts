import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { parseIscsiUrl, qemuArguments, shellQuoted } from './arguments.ts';
import type { DriveSpec, MachineSpec } from './spec.ts';

const PATHS = {
  qmpSocket: '/r/qmp',
  serialSocket: '/r/serial',
  vncSocket: '/r/vnc',
  controlSocket: '/r/control',
};
const BASE: MachineSpec = { name: 'm', firmware: 'bios', memoryMib: 256, accel: 'tcg' };

function valuesOf(argv: readonly string[], option: string): string[] {
  return argv.flatMap((a, n) => (argv[n - 1] === option ? [a] : []));
}

function objectsOf(argv: readonly string[], option: string): unknown[] {
  return valuesOf(argv, option).map((v) => JSON.parse(v) as unknown);
}

function withDrive(drive: DriveSpec): string[] {
  return qemuArguments({ ...BASE, drives: [drive] }, PATHS);
}

test('a machine starts stopped, with nothing that was not asked for', () => {
  const argv = qemuArguments(BASE, PATHS);
  for (const flag of ['-S', '-nodefaults', '-no-user-config']) assert.ok(argv.includes(flag), flag);
  assert.deepEqual(valuesOf(argv, '-machine'), ['pc']);
  assert.deepEqual(valuesOf(argv, '-accel'), ['tcg,thread=multi,tb-size=128']);
  assert.deepEqual(valuesOf(argv, '-m'), ['256']);
  assert.deepEqual(valuesOf(argv, '-display'), ['none']);
  assert.deepEqual(valuesOf(argv, '-action'), ['reboot=shutdown']);
  assert.deepEqual(valuesOf(argv, '-device'), []);
  assert.deepEqual(valuesOf(argv, '-chardev'), [
    'socket,id=qmp,path=/r/qmp',
    'socket,id=serial,path=/r/serial',
  ]);
});

test('UEFI: code read-only, variables of its own', () => {
  const uefi = { code: '/f/CODE.fd', variables: '/r/VARS.fd' };
  const argv = qemuArguments({ ...BASE, firmware: 'ovmf' }, { ...PATHS, uefi });
  assert.deepEqual(valuesOf(argv, '-machine'), ['pc,pflash0=uefi-code,pflash1=uefi-variables']);
  assert.deepEqual(objectsOf(argv, '-blockdev'), [
    {
      driver: 'raw',
      'node-name': 'uefi-code',
      'read-only': true,
      file: { driver: 'file', filename: '/f/CODE.fd', 'read-only': true },
    },
    {
      driver: 'raw',
      'node-name': 'uefi-variables',
      'read-only': false,
      file: { driver: 'file', filename: '/r/VARS.fd', 'read-only': false },
    },
  ]);
});

test('network cards: tap, MAC, boot order; an empty ROM is not the same as QEMU’s own', () => {
  const nics = [
    { backend: { kind: 'tap', name: 'tap0' }, mac: '52:54:00:00:00:01', bootIndex: 1 },
    { backend: { kind: 'tap', name: 'tap1' }, mac: '52:54:00:00:00:02', romFile: '' },
  ] as const;
  const argv = qemuArguments({ ...BASE, nics }, PATHS);
  assert.deepEqual(objectsOf(argv, '-netdev'), [
    { type: 'tap', id: 'net0', ifname: 'tap0', script: 'no', downscript: 'no' },
    { type: 'tap', id: 'net1', ifname: 'tap1', script: 'no', downscript: 'no' },
  ]);
  assert.deepEqual(objectsOf(argv, '-device'), [
    {
      driver: 'virtio-net-pci',
      id: 'nic0',
      netdev: 'net0',
      mac: '52:54:00:00:00:01',
      bootindex: 1,
    },
    {
      driver: 'virtio-net-pci',
      id: 'nic1',
      netdev: 'net1',
      mac: '52:54:00:00:00:02',
      romfile: '',
    },
  ]);
});

test('a drive of each bus', () => {
  const source = { kind: 'file', path: '/a,b.img', format: 'raw' } as const;
  const cases = [
    ['ide', 'ide-hd', false],
    ['virtio', 'virtio-blk-pci', false],
    ['cdrom', 'ide-cd', true],
    ['floppy', 'floppy', false],
  ] as const;
  for (const [bus, driver, readOnly] of cases) {
    const argv = withDrive({ id: 'd', bus, source });
    assert.deepEqual(objectsOf(argv, '-device'), [{ driver, id: 'd', drive: 'd-medium' }]);
    assert.deepEqual(objectsOf(argv, '-blockdev'), [
      {
        driver: 'raw',
        'node-name': 'd-medium',
        'read-only': readOnly,
        file: { driver: 'file', filename: '/a,b.img', 'read-only': readOnly },
      },
    ]);
  }
});

test('an iSCSI drive is attached by QEMU’s own initiator, under the name given', () => {
  const argv = withDrive({
    id: 'c',
    bus: 'ide',
    source: { kind: 'iscsi', url: 'iscsi://10.0.0.1/iqn.x:y/3', initiatorName: 'iqn.x:me' },
  });
  assert.deepEqual(objectsOf(argv, '-blockdev'), [
    {
      driver: 'raw',
      'node-name': 'c-medium',
      'read-only': false,
      file: {
        driver: 'iscsi',
        transport: 'tcp',
        'read-only': false,
        portal: '10.0.0.1:3260',
        target: 'iqn.x:y',
        lun: 3,
        'initiator-name': 'iqn.x:me',
      },
    },
  ]);
});

test('an empty floppy drive is a drive, an empty hard disk is a mistake', () => {
  const argv = withDrive({ id: 'a', bus: 'floppy' });
  assert.deepEqual(objectsOf(argv, '-device'), [{ driver: 'floppy', id: 'a' }]);
  assert.throws(() => withDrive({ id: 'c', bus: 'ide' }), UserError);
});

test('two drives of one name are refused', () => {
  const drive: DriveSpec = { id: 'a', bus: 'cdrom' };
  assert.throws(() => qemuArguments({ ...BASE, drives: [drive, drive] }, PATHS), UserError);
});

test('iSCSI URLs', () => {
  const target = 'iqn.2026-11.org.polyboot:m.0';
  assert.deepEqual(parseIscsiUrl(`iscsi://h/${target}/0`), { portal: 'h:3260', target, lun: 0 });
  assert.deepEqual(parseIscsiUrl(`iscsi://[fd00::1]:3261/${target}/12`), {
    portal: '[fd00::1]:3261',
    target,
    lun: 12,
  });
  for (const bad of [
    '',
    'iscsi://h',
    'iscsi://h/t',
    'http://h/t/0',
    'iscsi://h/t/x',
    'iscsi:///t/0',
  ]) {
    assert.throws(() => parseIscsiUrl(bad), UserError, bad);
  }
});

test('commas of names and paths do not become options', () => {
  const argv = qemuArguments(
    {
      ...BASE,
      name: 'a,b',
      kernel: { path: '/k,1', initrd: '/i,2', commandLine: 'x=1,2' },
      firmwareConfig: [{ name: 'opt/x', value: '1,2' }],
    },
    PATHS,
  );
  assert.deepEqual(valuesOf(argv, '-name'), ['a,,b']);
  assert.deepEqual(valuesOf(argv, '-kernel'), ['/k,1']);
  assert.deepEqual(valuesOf(argv, '-initrd'), ['/i,,2']);
  assert.deepEqual(valuesOf(argv, '-append'), ['x=1,2']);
  assert.deepEqual(valuesOf(argv, '-fw_cfg'), ['name=opt/x,string=1,,2']);
});

test('a VNC screen on a socket or a loopback port', () => {
  const unix = qemuArguments({ ...BASE, display: { kind: 'vnc-unix' } }, PATHS);
  assert.deepEqual(valuesOf(unix, '-vnc'), ['unix:/r/vnc']);
  const tcp = { kind: 'vnc-tcp', address: '127.0.0.1', port: 5907 } as const;
  assert.deepEqual(valuesOf(qemuArguments({ ...BASE, display: tcp }, PATHS), '-vnc'), [
    '127.0.0.1:7',
  ]);
});

test('a command line that can be pasted into a shell', () => {
  assert.equal(shellQuoted(['a', 'b c', "d'e", '{"f":1}']), `a 'b c' 'd'\\''e' '{"f":1}'`);
});

test('a disk that shows the geometry of its boots, behind CHAP whose secret is in a file', () => {
  const drive: DriveSpec = {
    id: 'disk',
    bus: 'ide',
    geometry: { cylinders: 1024, heads: 255, sectorsPerTrack: 63 },
    source: {
      kind: 'iscsi',
      url: 'iscsi://127.0.0.1:3260/iqn.2026-11.org.polyboot:x/0',
      chap: { user: 'install', secretFile: '/r/secret' },
    },
  };
  const argv = qemuArguments({ ...BASE, control: true, drives: [drive] }, PATHS);
  const text = argv.join(' ');
  assert.match(text, /"lcyls":1024,"lheads":255,"lsecs":63/);
  assert.match(text, /"qom-type":"secret","id":"disk-secret","file":"\/r\/secret"/);
  assert.match(text, /"user":"install","password-secret":"disk-secret"/);
  assert.match(text, /id=control,path=\/r\/control,server=on,wait=off/);
});
