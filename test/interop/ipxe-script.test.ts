import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { entryScript, machineScript, unknownScript, type MachineScript } from '#ipxe/mod.ts';
import { decodeIpxeError } from '#ipxe/mod.ts';
import { typeKeys, type MachineSpec } from '#vm/mod.ts';
import { need } from '../lab/need.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import { BASE, IpxeLab, MAC_PATH } from './ipxe-lab.ts';

const NEEDS = {
  root: true,
  tools: ['qemu-system-x86_64', 'setpriv', 'dnsmasq', 'ip'],
  files: ['/usr/lib/ipxe/undionly.kpxe'],
} as const;
const SCRIPT = `/boot/${MAC_PATH}.ipxe`;

const MACHINE: MachineScript = {
  machine: 'bench-p4',
  initiatorIqn: 'iqn.2026-11.org.polyboot:bench-p4',
  drives: [{ uris: ['iscsi:10.77.0.1::3260:0:iqn.2026-11.org.polyboot:bench-p4.0'] }],
  plan: { kind: 'san' },
  baseUrl: BASE,
  attempts: 2,
};

/** A boot sector that says a word on COM1 (and stops), and is no disk image otherwise. */
function sayingSector(word: string): Buffer {
  // cld; xor ax,ax; mov ds,ax; mov si,text; next: lodsb; test al,al; jz $;
  // mov dx,0x3f8; out dx,al; jmp next
  const code = [0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x15, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0xfe];
  const send = [0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, 0x90, 0x90];
  const sector = Buffer.alloc(512);
  sector.set([...code, ...send], 0);
  sector.write(`${word}\r\n\0`, code.length + send.length, 'latin1');
  sector.writeUInt16BE(0x55aa, 510);
  return sector;
}

/** A BIOS machine with a local disk that says so when it is started. */
async function withLocalDisk(t: TestContext): Promise<Partial<MachineSpec>> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-local-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'local.img');
  await writeFile(path, Buffer.concat([sayingSector('LOCAL DISK'), Buffer.alloc(1024 * 1024)]));
  return {
    drives: [{ id: 'c', bus: 'ide', source: { kind: 'file', path, format: 'raw' } }],
  };
}

suite('scripts on the real iPXE', () => {
  test('unknown machine: introduces itself, shows a menu, leaves for the local disk', async (t) => {
    if (!need(t, NEEDS)) return;
    const texts = { [SCRIPT]: [unknownScript({ baseUrl: BASE, timeoutMs: 20_000 })] };
    const lab = await IpxeLab.start(t, { texts }, await withLocalDisk(t));
    const seen = await lab.request('/boot/report', { stage: 'register' });
    assert.equal(seen.query['mac'], MAC_PATH);
    assert.equal(seen.query['manufacturer'], 'QEMU');
    assert.equal(seen.query['platform'], 'pcbios');
    await lab.site.waitFor(/^finished .*report/m);
    const menu = await lab.screenWith(/iPXE shell/);
    assert.match(menu, /this machine is not set up yet/);
    assert.match(menu, /MAC 52:54:00:77:12:34 +Address 10\.77\.0\.\d+/);
    assert.match(menu, /Firmware pcbios, i386/);
    await lab.machine.serial.waitFor(/LOCAL DISK/, GUEST_LIMIT_MS);
  });

  test('the menu of a known machine asks the server for what was chosen', async (t) => {
    if (!need(t, NEEDS)) return;
    const items = [
      { key: 'san', label: 'Network disk: dos622' },
      { key: 'rescue', label: 'Rescue || shell # ${password}' },
    ];
    const menu = machineScript({ ...MACHINE, plan: { kind: 'menu', items, timeoutMs: 60_000 } });
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [menu, '#!ipxe\nshell\n'] } });
    const shown = await lab.screenWith(/Rescue/);
    assert.match(shown, /Rescue \?\? shell \? \?\?password\?/);
    await typeKeys(lab.machine.qmp, '<down><ret>');
    await lab.request(SCRIPT, { plan: 'rescue' });
  });

  test('an unreachable drive: attempts, a readable error, a report, then again', async (t) => {
    if (!need(t, NEEDS)) return;
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [machineScript(MACHINE)] } });
    const report = await lab.request('/boot/report', { stage: 'failed', step: 'drive-0x80' });
    const error = decodeIpxeError(report.query['error'] ?? '');
    assert.equal(error?.name, 'ECONNRESET', JSON.stringify(report));
    assert.equal(error.source, 'tcp');
    const shown = await lab.screenWith(/Press S for the iPXE shell/);
    assert.match(shown, /attempt 1 of 2 failed, trying again/);
    assert.match(shown, /could not boot\.\n/);
    assert.match(shown, /Step: +attach drive 0x80 from 10\.77\.0\.1/);
    assert.match(shown, /Error: +http:\/\/ipxe\.org\/0f0a60/);
    assert.match(shown, /Check: .*TCP port 3260/);
    // The second fetch of the script is the machine trying again by itself.
    await typeKeys(lab.machine.qmp, '<esc>');
    await lab.site.waitFor(new RegExp(`(request .*${SCRIPT}[^]*){2}`), GUEST_LIMIT_MS);
  });

  test('credentials reach the target as they are, and are gone in the shell', async (t) => {
    if (!need(t, NEEDS)) return;
    const secret = 'a b ${mac} || shell #"\\ é';
    const script = machineScript({ ...MACHINE, chap: { user: 'bench', secret }, attempts: 1 });
    // The script's own lines up to the hook, then what iPXE holds, as bytes.
    const cut = script.slice(0, script.indexOf('sanhook'));
    const tell = 'imgfetch ${base}/boot/report?secret=${password:hexraw}&user=${username}';
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [`${cut}\n${tell}\nshell\n`] } });
    const held = await lab.request('/boot/report', { user: 'bench' });
    assert.equal(Buffer.from(held.query['secret'] ?? '', 'hex').toString('utf8'), secret);
  });

  test('a kernel that is not there: the step and HTTP 404', async (t) => {
    if (!need(t, NEEDS)) return;
    const plan = {
      kind: 'kernel',
      kernelUrl: `${BASE}/files/vmlinuz`,
      initrdUrls: [`${BASE}/files/initrd.img`],
      cmdline: 'quiet',
    } as const;
    const script = machineScript({ ...MACHINE, drives: [], plan });
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [script] } });
    const report = await lab.request('/boot/report', { stage: 'failed', step: 'kernel' });
    assert.match(decodeIpxeError(report.query['error'] ?? '')?.meaning ?? '', /HTTP 404/);
  });

  test('kernel plan: memtest86+ over HTTP starts', async (t) => {
    const file = '/boot/memtest86+x64.bin';
    if (!need(t, { ...NEEDS, files: [...NEEDS.files, file] })) return;
    const plan = {
      kind: 'kernel',
      kernelUrl: `${BASE}/files/memtest`,
      initrdUrls: [],
      cmdline: 'console=ttyS0,115200',
    } as const;
    const script = machineScript({ ...MACHINE, drives: [], plan });
    const files = { '/files/memtest': { root: '/boot', path: 'memtest86+x64.bin' } };
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [script] }, files });
    await lab.machine.serial.waitFor(/Memtest86\+/, GUEST_LIMIT_MS);
  });

  test('ISO plan: read by ranges, hooked as 0x80, its El Torito starts', async (t) => {
    const iso = '/usr/lib/ipxe/ipxe.iso';
    if (!need(t, { ...NEEDS, files: [...NEEDS.files, iso] })) return;
    const plan = { kind: 'iso', url: `${BASE}/images/ipxe.iso` } as const;
    const first = machineScript({ ...MACHINE, drives: [], plan });
    const texts = { [SCRIPT]: [first, '#!ipxe\nshell\n'] };
    const files = { '/images/ipxe.iso': { root: '/usr/lib/ipxe', path: 'ipxe.iso' } };
    const lab = await IpxeLab.start(t, { texts, files });
    const range = /^request .*"method":"GET","path":"\/images\/ipxe\.iso".*"range":"bytes=(\d+)-/m;
    await lab.site.waitFor(range, GUEST_LIMIT_MS);
    await lab.site.waitFor(/^finished .*ipxe\.iso","status":206,/m, GUEST_LIMIT_MS);
    // The iPXE on the ISO starts from scratch: it asks for the script once more.
    await lab.site.waitFor(new RegExp(`(request .*${SCRIPT}[^]*){2}`), GUEST_LIMIT_MS);
  });

  test('local disk plan on BIOS', async (t) => {
    if (!need(t, NEEDS)) return;
    const script = machineScript({ ...MACHINE, plan: { kind: 'local' } });
    const lab = await IpxeLab.start(t, { texts: { [SCRIPT]: [script] } }, await withLocalDisk(t));
    await lab.machine.serial.waitFor(/LOCAL DISK/, GUEST_LIMIT_MS);
  });

  test('the entry script leads any machine to its own', async (t) => {
    if (!need(t, NEEDS)) return;
    const texts = {
      '/entry.ipxe': [entryScript({ baseUrl: BASE })],
      [SCRIPT]: [machineScript({ ...MACHINE, plan: { kind: 'local' } })],
    };
    const disk = await withLocalDisk(t);
    const lab = await IpxeLab.start(t, { texts }, disk, `${BASE}/entry.ipxe`);
    const asked = await lab.request(SCRIPT);
    assert.match(asked.query['uuid'] ?? '', /^[0-9a-f-]{36}$/);
    await lab.machine.serial.waitFor(/LOCAL DISK/, GUEST_LIMIT_MS);
  });

  test('UEFI: unknown machine and local disk, on the same script', async (t) => {
    if (!need(t, { ...NEEDS, files: [...NEEDS.files, '/usr/share/OVMF/OVMF_CODE_4M.fd'] })) return;
    const texts = { [SCRIPT]: [unknownScript({ baseUrl: BASE, timeoutMs: 1000 })] };
    const lab = await IpxeLab.start(t, { texts }, { firmware: 'ovmf' });
    const seen = await lab.request('/boot/report', { stage: 'register', platform: 'efi' });
    assert.equal(seen.query['buildarch'], 'x86_64');
    // Status 1 gives the firmware its turn: it goes on with its next boot entry.
    const next = /failed to load Boot0001[^]*Start PXE over IPv4/;
    await lab.machine.serial.waitFor(next, GUEST_LIMIT_MS);
  });
});

test('the test sector itself is one', () => {
  assert.equal(sayingSector('X').length, 512);
  assert.equal(sayingSector('X').subarray(21, 25).toString('latin1'), 'X\r\n\0');
});
