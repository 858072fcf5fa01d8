import { UserError } from '#base/mod.ts';
import type {
  Accel,
  BiosGeometry,
  Display,
  DriveSource,
  DriveSpec,
  MachineSpec,
  NicSpec,
} from './spec.ts';

/** Files and sockets of one running machine, all in its private folder. */
export type RunPaths = {
  /** We listen on these two and QEMU connects: no byte is lost and nobody polls for a socket. */
  readonly qmpSocket: string;
  readonly serialSocket: string;
  readonly vncSocket: string;
  /** QEMU listens here, if the machine has a second control socket. */
  readonly controlSocket: string;
  /** UEFI code (read-only) and this machine's copy of its variables; absent for BIOS. */
  readonly uefi?: { readonly code: string; readonly variables: string };
};

/**
 * Translated code may fill 128 MiB: a guest with 256 MiB then costs about 390 MiB in all instead of
 * 900 (QEMU's own default is a gigabyte), and boots as fast.
 */
const TCG = 'tcg,thread=multi,tb-size=128';

type QemuObject = Readonly<Record<string, unknown>>;

/**
 * QEMU's command line (without the program) for a machine. The machine starts stopped. Compound
 * values are JSON, so that a comma in a path cannot become an option. Throws UserError when the
 * description cannot be meant (a bad iSCSI URL, the same drive twice).
 */
export function qemuArguments(spec: MachineSpec, paths: RunPaths): string[] {
  const ids = (spec.drives ?? []).map((d) => d.id);
  const twice = ids.find((id, n) => ids.indexOf(id) !== n);
  if (twice !== undefined) throw misused(`two drives of "${spec.name}" are called "${twice}"`);
  const options: readonly (readonly string[])[] = [
    ['-name', escaped(spec.name), '-nodefaults', '-no-user-config', '-S'],
    machineArguments(spec, paths),
    ['-rtc', 'base=utc'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-action', `reboot=${spec.onReboot === 'reset' ? 'reset' : 'shutdown'}`],
    ['-chardev', `socket,id=qmp,path=${escaped(paths.qmpSocket)}`, '-mon', 'qmp,mode=control'],
    controlArguments(spec, paths),
    ['-chardev', `socket,id=serial,path=${escaped(paths.serialSocket)}`],
    ['-serial', 'chardev:serial'],
    displayArguments(spec.display ?? { kind: 'none' }, paths),
    ['-vga', spec.vga ?? 'std'],
    kernelArguments(spec),
    ...(spec.firmwareConfig ?? []).map((c) => [
      '-fw_cfg',
      `name=${escaped(c.name)},string=${escaped(c.value)}`,
    ]),
    ...(spec.nics ?? []).map(nicArguments),
    ...(spec.drives ?? []).map(driveArguments),
  ];
  return options.flat();
}

/** The command line as one would type it into a shell, for logs and for bug reports. */
export function shellQuoted(argv: readonly string[]): string {
  return argv
    .map((a) => (/^[\w@%+=:,./-]+$/.test(a) ? a : `'${a.replaceAll("'", `'\\''`)}'`))
    .join(' ');
}

function machineArguments(spec: MachineSpec, paths: RunPaths): string[] {
  const flash = paths.uefi === undefined ? '' : ',pflash0=uefi-code,pflash1=uefi-variables';
  const argv = [
    '-machine',
    `${spec.machineType ?? 'pc'}${flash}`,
    '-accel',
    accelValue(spec.accel),
  ];
  argv.push('-cpu', spec.cpu ?? (spec.accel === 'kvm' ? 'host,-arch-capabilities' : 'max'));
  argv.push('-m', String(spec.memoryMib), '-smp', String(spec.processors ?? 1));
  if (spec.uuid !== undefined) argv.push('-uuid', spec.uuid);
  if (paths.uefi !== undefined) {
    argv.push('-blockdev', json(fileNode('uefi-code', paths.uefi.code, 'raw', true)));
    argv.push('-blockdev', json(fileNode('uefi-variables', paths.uefi.variables, 'raw', false)));
  }
  return argv;
}

function accelValue(accel: Accel): string {
  return accel === 'tcg' ? TCG : 'kvm';
}

function controlArguments(spec: MachineSpec, paths: RunPaths): string[] {
  if (spec.control !== true) return [];
  const socket = `socket,id=control,path=${escaped(paths.controlSocket)},server=on,wait=off`;
  return ['-chardev', socket, '-mon', 'control,mode=control'];
}

function displayArguments(display: Display, paths: RunPaths): string[] {
  if (display.kind === 'none') return ['-display', 'none'];
  if (display.kind === 'vnc-unix') return ['-vnc', `unix:${escaped(paths.vncSocket)}`];
  // QEMU counts VNC displays from port 5900.
  return ['-vnc', `${display.address}:${display.port - 5900}`];
}

function kernelArguments(spec: MachineSpec): string[] {
  if (spec.kernel === undefined) return [];
  const argv = ['-kernel', spec.kernel.path];
  // -initrd splits its value at commas.
  if (spec.kernel.initrd !== undefined) argv.push('-initrd', escaped(spec.kernel.initrd));
  if (spec.kernel.commandLine !== undefined) argv.push('-append', spec.kernel.commandLine);
  return argv;
}

function nicArguments(nic: NicSpec, index: number): string[] {
  const id = `net${index}`;
  const backend =
    nic.backend.kind === 'tap'
      ? { type: 'tap', id, ifname: nic.backend.name, script: 'no', downscript: 'no' }
      : { type: 'user', id, tftp: nic.backend.tftpFolder, bootfile: nic.backend.bootFile };
  const device = {
    driver: nic.model ?? 'virtio-net-pci',
    id: `nic${index}`,
    netdev: id,
    mac: nic.mac,
    ...(nic.romFile === undefined ? {} : { romfile: nic.romFile }),
    ...(nic.bootIndex === undefined ? {} : { bootindex: nic.bootIndex }),
  };
  return ['-netdev', json(backend), '-device', json(device)];
}

function driveArguments(drive: DriveSpec): string[] {
  const readOnly = drive.readOnly ?? drive.bus === 'cdrom';
  const node = `${drive.id}-medium`;
  const device = {
    driver: DEVICE_OF_BUS[drive.bus],
    id: drive.id,
    ...(drive.source === undefined ? {} : { drive: node }),
    ...placeOf(drive),
    ...(drive.geometry === undefined ? {} : geometryProperties(drive.geometry)),
  };
  if (drive.source === undefined) {
    if (drive.bus === 'cdrom') return ['-device', json(device)];
    if (drive.bus === 'floppy') return [...controllerArguments(drive), '-device', json(device)];
    throw misused(`drive "${drive.id}" is a hard disk and has no source`);
  }
  const medium = json(sourceNode(node, drive, drive.source, readOnly));
  const before = [...secretArguments(drive), ...controllerArguments(drive)];
  return [...before, '-blockdev', medium, '-device', json(device)];
}

function placeOf(drive: DriveSpec): QemuObject {
  if (drive.bootIndex === undefined || drive.bus === 'floppy') return {};
  return { bootindex: drive.bootIndex };
}

/** A floppy's place in the boot order is a property of its controller, which is always there. */
function controllerArguments(drive: DriveSpec): string[] {
  if (drive.bootIndex === undefined || drive.bus !== 'floppy') return [];
  return ['-global', `isa-fdc.bootindexA=${drive.bootIndex}`];
}

/** The logical geometry, which QEMU hands to SeaBIOS as `bios-geometry`. */
function geometryProperties({ cylinders, heads, sectorsPerTrack }: BiosGeometry): QemuObject {
  return { lcyls: cylinders, lheads: heads, lsecs: sectorsPerTrack };
}

function secretId(drive: DriveSpec): string {
  return `${drive.id}-secret`;
}

function secretArguments(drive: DriveSpec): string[] {
  const { source } = drive;
  if (source?.kind !== 'iscsi' || source.chap === undefined) return [];
  return [
    '-object',
    json({ 'qom-type': 'secret', id: secretId(drive), file: source.chap.secretFile }),
  ];
}

const DEVICE_OF_BUS = {
  ide: 'ide-hd',
  virtio: 'virtio-blk-pci',
  cdrom: 'ide-cd',
  floppy: 'floppy',
} as const;

function sourceNode(
  name: string,
  drive: DriveSpec,
  source: DriveSource,
  readOnly: boolean,
): QemuObject {
  if (source.kind === 'file') return fileNode(name, source.path, source.format, readOnly);
  const url = parseIscsiUrl(source.url);
  return {
    driver: 'raw',
    'node-name': name,
    'read-only': readOnly,
    file: {
      driver: 'iscsi',
      transport: 'tcp',
      'read-only': readOnly,
      ...url,
      ...(source.initiatorName === undefined ? {} : { 'initiator-name': source.initiatorName }),
      ...(source.chap === undefined
        ? {}
        : { user: source.chap.user, 'password-secret': secretId(drive) }),
    },
  };
}

function fileNode(name: string, filename: string, driver: string, readOnly: boolean): QemuObject {
  const file = { driver: 'file', filename, 'read-only': readOnly };
  return { driver, 'node-name': name, 'read-only': readOnly, file };
}

/**
 * `iscsi://host[:port]/target/lun` as QEMU's block options. Throws UserError when it is not one.
 */
export function parseIscsiUrl(text: string): { portal: string; target: string; lun: number } {
  const m = /^iscsi:\/\/(\[[0-9a-f:]+\]|[^/:@[\]]+)(?::(\d{1,5}))?\/([^/]+)\/(\d{1,5})$/i.exec(
    text,
  );
  if (m === null) throw misused(`"${text}" is not an iSCSI URL like iscsi://host:3260/iqn/0`);
  return { portal: `${m[1]}:${m[2] ?? 3260}`, target: m[3] ?? '', lun: Number(m[4]) };
}

function misused(what: string): UserError {
  return new UserError('invalid', 'vm-description', { what });
}

/** A comma inside a value of QEMU's own option syntax is written twice. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

function json(value: QemuObject): string {
  return JSON.stringify(value);
}
