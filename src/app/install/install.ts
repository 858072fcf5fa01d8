import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLog, EnvironmentError, printable, UserError } from '#base/mod.ts';
import { BasePool, type BlockDevice, type DiskSource } from '#block/mod.ts';
import type { InstallRequest } from '#cli/mod.ts';
import { inspectDisk, repairGeometry, type DiskReport, type Geometry } from '#disk/mod.ts';
import { onSectors } from '#images/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { IQN_PREFIX } from '#machines/mod.ts';
import { chooseAccel, VirtualMachine } from '#vm/mod.ts';
import type { DriveSource, Ending, MachineSpec } from '#vm/mod.ts';
import { diskFileSource } from '../disk-file-source.ts';
import { paint, type Terminal } from '../output.ts';
import { serveDisk, type ServedDisk } from '../served-disk.ts';
import { checkMedium } from './media.ts';
import { machineSpec } from './machine-spec.ts';
import { InstallSessions, sessionName } from './sessions.ts';

/** `polyboot install`: what was asked for, and where it happens. */
export type InstallOptions = InstallRequest & {
  /** Folder that a restart of the host empties. */
  readonly runtimeFolder: string;
  readonly terminal: Terminal;
};

/**
 * Runs a virtual machine on the disk for somebody who installs a system by hand. The disk is our
 * own iSCSI target and the BIOS shows the geometry that iPXE will show: what is installed here
 * boots over the network. Resolves when the machine is off. Throws UserError, EnvironmentError.
 */
export async function install(options: InstallOptions): Promise<number> {
  const { terminal } = options;
  for (const f of options.floppies) checkMedium(f, 'floppy');
  for (const f of options.cdroms) checkMedium(f, 'cdrom');
  const sessions = new InstallSessions(options.runtimeFolder);
  await mkdir(options.runtimeFolder, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(options.runtimeFolder, 'install-'));
  const server = new TargetServer({ log: createLog('warn') });
  try {
    const target = await serve(server, options, folder);
    try {
      const { device } = target.disk;
      const before = await onSectors(device, inspectDisk);
      const { accel } = await chooseAccel();
      const how = { target: target.source, geometry: before.geometry, accel };
      await runMachine(options, machineSpec(options, how), folder, sessions);
      if (options.mend) await mend(terminal, device);
      report(terminal, before, await onSectors(device, inspectDisk));
    } finally {
      await target.disk.close();
    }
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
  return 0;
}

type Served = { readonly disk: ServedDisk; readonly source: DriveSource };

/**
 * The target is on loopback, where other users of this host are too: they do not know the secret.
 */
async function serve(
  server: TargetServer,
  options: InstallOptions,
  folder: string,
): Promise<Served> {
  const iqn = `${IQN_PREFIX}install`;
  const initiatorName = `${iqn}.guest`;
  const user = 'install';
  const secret = randomBytes(16).toString('hex');
  const secretFile = join(folder, 'secret');
  await writeFile(secretFile, secret, { mode: 0o600, flag: 'wx' });
  const [at] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  const disk = await serveDisk(server, new BasePool(), {
    config: { iqn, access: [initiatorName], takeover: false, chap: { user, secret } },
    source: sourceOf(options.disk),
    readOnly: false,
    cdrom: false,
    serial: options.name,
  });
  const url = `iscsi://127.0.0.1:${at?.port ?? 0}/${iqn}/0`;
  return { disk, source: { kind: 'iscsi', url, initiatorName, chap: { user, secretFile } } };
}

function sourceOf(disk: InstallRequest['disk']): DiskSource {
  if ('path' in disk) return diskFileSource({ file: disk.path });
  // The server's own description, which it opens disks by.
  return disk.source as DiskSource;
}

async function runMachine(
  options: InstallOptions,
  spec: MachineSpec,
  folder: string,
  sessions: InstallSessions,
): Promise<void> {
  const { terminal, signal, vncPort } = options;
  const machine = await VirtualMachine.start(spec, { runParent: folder });
  const name = sessionName(options.name);
  const stop = (): void => {
    void machine.stop();
  };
  signal.addEventListener('abort', stop);
  try {
    sessions.record({
      name,
      pid: machine.pid,
      control: join(machine.folder, 'control.sock'),
      folder: machine.folder,
      floppies: options.floppies,
      writableFloppies: options.writableFloppies,
    });
    try {
      const vnc = vncPort === undefined ? join(machine.folder, 'vnc.sock') : `127.0.0.1:${vncPort}`;
      terminal.out(`${howTo(options, vnc)}\n`);
      if (signal.aborted) return;
      await machine.powerOn();
      const ending = await machine.ended();
      if (ending.exitCode !== 0 && !signal.aborted) throw crashed(ending);
      terminal.out('The machine is off.\n');
    } finally {
      sessions.remove(name);
    }
  } finally {
    signal.removeEventListener('abort', stop);
    await machine.stop();
  }
}

function crashed({ exitCode, signal, stderr }: Ending): EnvironmentError {
  const how = signal === null ? `QEMU ended with ${exitCode}` : `QEMU was ended by ${signal}`;
  const said = printable(stderr.trim(), 500);
  return new EnvironmentError('vm-crashed', {
    what: 'the virtual machine did not end in order, so the system on the disk may be incomplete',
    why: said === '' ? how : `${how}: ${said}`,
    todo: 'start it again and look at what it shows, or install anew',
  });
}

function howTo(options: InstallOptions, vnc: string): string {
  const { floppies, cdroms } = options;
  const more =
    floppies.length > 1
      ? ['polyboot install swap floppy0 next    the next floppy of the list']
      : [];
  return [
    `Installing on "${options.name}": the disk is served by this program.`,
    `Screen by VNC:  ${vnc}`,
    floppies.length === 0 ? '' : `In floppy0:     ${floppies[0]}`,
    ...cdroms.map((file, n) => `In cdrom${n}:      ${file}`),
    'From another terminal:',
    ...[
      ...more,
      'polyboot install swap floppy0 FILE    another floppy (or cdrom0)',
      'polyboot install text                 the text screen',
      'polyboot install picture FILE.png     the screen as a picture',
      "polyboot install type 'dir<ret>'      keys",
      'polyboot install stop                 power off',
    ].map((line) => `  ${line}`),
  ]
    .filter((line) => line !== '')
    .join('\n');
}

/** Makes table and boot sectors fit; a disk without DOS on it stays as it is. */
async function mend(terminal: Terminal, device: BlockDevice): Promise<void> {
  try {
    for (const line of await onSectors(device, repairGeometry)) terminal.out(`Mended: ${line}\n`);
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    terminal.out(`${paint(terminal, 'yellow', '!')} ${e.message}\n`);
  }
}

/** Says what the disk is now, and what would not boot. */
function report(terminal: Terminal, before: DiskReport, after: DiskReport): void {
  const chs = ({ cylinders, heads, sectorsPerTrack }: Geometry): string =>
    `${cylinders}/${heads}/${sectorsPerTrack}`;
  terminal.out(`BIOS: ${after.bios.bootable ? 'boots' : 'does not boot'}: ${after.bios.why}\n`);
  const was = chs(before.geometry);
  const is = chs(after.geometry);
  if (was === is) {
    terminal.out(`C/H/S ${is}, during the installation and under iPXE\n`);
  } else {
    const warn = paint(terminal, 'yellow', '!');
    terminal.out(
      `${warn} C/H/S was ${was} during the installation, and iPXE will guess ${is} from the new table\n` +
        '    do: if DOS does not start, polyboot image repair NAME --geometry (or install with --mend)\n',
    );
  }
  for (const w of after.warnings) terminal.out(`${paint(terminal, 'yellow', '!')} ${w.text}\n`);
}
