import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { EnvironmentError } from '#base/mod.ts';
import {
  probeAccel,
  readTextScreen,
  saveScreenPicture,
  typeKeys,
  VirtualMachine,
  type MachineSpec,
} from '#vm/mod.ts';
import { need } from '../lab/need.ts';
import { Lab } from '../lab/netns.ts';
import { run, Running } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';

const QEMU = { tools: ['qemu-system-x86_64', 'setpriv'] } as const;

/** A folder with a bootable disk made from a source of `test/boot/asm/`. */
async function diskOf(t: TestContext, source: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-test-'));
  t.after(() => rm(folder, { recursive: true }));
  const image = join(folder, 'disk.img');
  await run('nasm', ['-f', 'bin', '-o', image, join(import.meta.dirname, 'asm', source)]);
  return image;
}

function machineWith(disk: string, more: Partial<MachineSpec> = {}): MachineSpec {
  return {
    name: 'test',
    firmware: 'bios',
    memoryMib: 64,
    accel: 'tcg',
    drives: [{ id: 'c', bus: 'ide', source: { kind: 'file', path: disk, format: 'raw' } }],
    ...more,
  };
}

async function started(t: TestContext, spec: MachineSpec): Promise<VirtualMachine> {
  const machine = await VirtualMachine.start(spec);
  t.after(() => machine.stop());
  return machine;
}

async function rejection(promise: Promise<unknown>, code: string): Promise<EnvironmentError> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (e: unknown) => e,
  );
  assert.ok(error instanceof EnvironmentError, String(error));
  assert.equal(error.code, code);
  return error;
}

suite('virtual machine', () => {
  test('serial line, text screen, picture and keyboard of a real guest', async (t) => {
    if (!need(t, { tools: [...QEMU.tools, 'nasm'] })) return;
    const machine = await started(t, machineWith(await diskOf(t, 'echo.asm')));
    assert.equal(machine.serial.text, '', 'nothing runs before power-on');
    await machine.powerOn();
    await machine.serial.waitFor(/ECHO READY/, GUEST_LIMIT_MS);
    await typeKeys(machine.qmp, 'Hi <shift+2>_{}~<ret>');
    await machine.serial.waitFor(/^Hi @_\{\}~\n/m, GUEST_LIMIT_MS);
    machine.serial.write('from the wire\r');
    await machine.serial.waitFor(/from the wire/, GUEST_LIMIT_MS);
    const screen = await readTextScreen(machine.qmp, machine.folder);
    assert.ok(screen.includes('ECHO READY ╔═╗'), screen.join('\n'));
    assert.ok(screen.includes('Hi @_{}~'), screen.join('\n'));

    const png = join(machine.folder, 'screen.png');
    await saveScreenPicture(machine.qmp, png);
    assert.equal((await readFile(png)).subarray(1, 4).toString(), 'PNG');
    const ppm = join(machine.folder, 'screen.ppm');
    await saveScreenPicture(machine.qmp, ppm, 'ppm');
    assert.equal((await readFile(ppm)).subarray(0, 2).toString(), 'P6');
    assert.ok((machine.memory()?.nowBytes ?? 0) > 16 * 1024 * 1024);

    const ending = await machine.stop();
    assert.equal(ending.reason, 'host-qmp-quit');
    assert.equal(existsSync(machine.folder), false);
    assert.equal(machine.memory(), undefined);
    assert.deepEqual(await machine.stop(), ending, 'a second stop says the same');
  });

  test('a guest that resets itself ends the run, and says so', async (t) => {
    if (!need(t, { tools: [...QEMU.tools, 'nasm'] })) return;
    const machine = await started(t, machineWith(await diskOf(t, 'echo.asm')));
    await machine.powerOn();
    await machine.serial.waitFor(/ECHO READY/, GUEST_LIMIT_MS);
    await typeKeys(machine.qmp, '<esc>');
    assert.equal((await machine.ended()).reason, 'guest-reset');
    assert.equal(machine.running, false);
  });

  test('the medium of an empty floppy drive is changed while the guest runs', async (t) => {
    if (!need(t, { tools: [...QEMU.tools, 'nasm'] })) return;
    const disk = await diskOf(t, 'echo.asm');
    const machine = await started(
      t,
      machineWith(disk, {
        drives: [
          { id: 'c', bus: 'ide', source: { kind: 'file', path: disk, format: 'raw' } },
          { id: 'floppy0', bus: 'floppy' },
        ],
      }),
    );
    const floppy = join(machine.folder, 'floppy.img');
    await writeFile(floppy, Buffer.alloc(1_474_560));
    await machine.qmp.execute('blockdev-change-medium', {
      id: 'floppy0',
      filename: floppy,
      format: 'raw',
    });
    const blocks = await machine.qmp.execute('query-block');
    assert.match(JSON.stringify(blocks), /floppy\.img/);
  });

  test('UEFI firmware runs on variables of its own', async (t) => {
    if (!need(t, { tools: QEMU.tools, files: ['/usr/share/OVMF/OVMF_CODE_4M.fd'] })) return;
    const machine = await started(t, {
      name: 'uefi',
      firmware: 'ovmf',
      memoryMib: 256,
      accel: 'tcg',
    });
    await machine.powerOn();
    await machine.serial.waitFor(/BdsDxe|UEFI Interactive Shell/, GUEST_LIMIT_MS);
    assert.ok((await stat(join(machine.folder, 'uefi-variables.fd'))).size > 0);
  });

  test('dies with its owner, even when that is killed', async (t) => {
    if (!need(t, QEMU)) return;
    const door = join(import.meta.dirname, '../../src/vm/mod.ts');
    const owner = new Running(process.execPath, [
      '--input-type=module-typescript',
      '--eval',
      `import { VirtualMachine } from ${JSON.stringify(door)};
       const m = await VirtualMachine.start(
         { name: 'orphan', firmware: 'bios', memoryMib: 64, accel: 'tcg' });
       await m.powerOn();
       console.log('PID ' + m.pid + ' IN ' + m.folder);
       setInterval(() => {}, 60_000);`,
    ]);
    t.after(() => owner.stop('SIGKILL'));
    const [, pid = '', folder = ''] = await owner.waitFor(/PID (\d+) IN (\S+)/);
    t.after(() => rm(folder, { recursive: true }));
    const gone = new Running('tail', ['--pid', pid, '-f', '/dev/null']);
    owner.child.kill('SIGKILL');
    assert.equal((await gone.finished()).code, 0);
  });

  test('nothing is left of a machine that cannot start', async (t) => {
    if (!need(t, { root: true, tools: [...QEMU.tools, 'nasm', 'ip'] })) return;
    const parent = await mkdtemp(join(tmpdir(), 'pb-'));
    t.after(() => rm(parent, { recursive: true }));
    const disk = await diskOf(t, 'echo.asm');
    const lab = await Lab.create();
    t.after(() => lab.close());
    const mac = '52:54:00:00:00:01';
    const nic = { backend: { kind: 'tap', name: 'tap9' }, mac } as const;
    const options = { runParent: parent, namespace: lab.namespace };
    const error = await rejection(
      VirtualMachine.start(machineWith(disk, { nics: [nic] }), options),
      'tap-missing',
    );
    assert.match(error.message, /ip tuntap add tap9/);

    const holder = await started(t, machineWith(disk));
    await rejection(VirtualMachine.start(machineWith(disk), options), 'image-in-use');
    await holder.stop();

    const lost = machineWith(join(parent, 'none.img'));
    await rejection(VirtualMachine.start(lost, options), 'vm-file');
    const odd = machineWith(disk, { nics: [{ ...nic, model: 'no-such-card' }], cpu: 'max' });
    await lab.run('ip', ['tuntap', 'add', 'tap9', 'mode', 'tap']);
    assert.match(
      (await rejection(VirtualMachine.start(odd, options), 'qemu-start')).message,
      /no-such-card/,
    );
    const { stdout } = await new Running('find', [parent, '-mindepth', '1']).finished();
    assert.equal(stdout, '');
  });

  test('the accelerator probe boots its sector through iPXE', async (t) => {
    if (!need(t, QEMU)) return;
    assert.equal(await probeAccel('tcg'), undefined);
  });
});
