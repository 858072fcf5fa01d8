import { printable } from '#base/mod.ts';
import type { InstallRequest } from '#cli/mod.ts';
import type { Geometry } from '#disk/mod.ts';
import type { Accel, Display, DriveSource, MachineSpec } from '#vm/mod.ts';

/** What the surroundings decide about the machine. */
export type MachineSurroundings = {
  readonly target: DriveSource;
  readonly geometry: Geometry;
  readonly accel: Accel;
};

/** A PC as old systems know it, on our disk. */
export function machineSpec(options: InstallRequest, around: MachineSurroundings): MachineSpec {
  const { boot, floppies, cdroms, cpu, vncPort } = options;
  const order = (drive: 'a' | 'c' | 'd'): { bootIndex: number } => ({
    bootIndex: drive === boot ? 1 : drive === 'c' ? 2 : drive === 'a' ? 3 : 4,
  });
  const display: Display =
    vncPort === undefined
      ? { kind: 'vnc-unix' }
      : { kind: 'vnc-tcp', address: '127.0.0.1', port: vncPort };
  const [firstFloppy] = floppies;
  return {
    name: printable(`install ${options.name}`, 64),
    firmware: options.firmware === 'uefi' ? 'ovmf' : 'bios',
    memoryMib: options.memoryMib,
    accel: around.accel,
    ...(cpu === undefined ? {} : { cpu }),
    // What Windows 9x and 2000 have a driver for on their own disks.
    vga: 'cirrus',
    display,
    control: true,
    onReboot: 'reset',
    drives: [
      {
        id: 'disk',
        bus: 'ide',
        source: around.target,
        ...biosGeometry(around.geometry),
        ...order('c'),
      },
      {
        id: 'floppy0',
        bus: 'floppy',
        readOnly: !options.writableFloppies,
        ...(firstFloppy === undefined ? {} : { source: fileSource(firstFloppy) }),
        ...order('a'),
      },
      ...(cdroms.length === 0 ? [undefined] : cdroms).map((file, n) => ({
        id: `cdrom${n}`,
        bus: 'cdrom' as const,
        ...(file === undefined ? {} : { source: fileSource(file) }),
        ...(n === 0 ? order('d') : {}),
      })),
    ],
  };
}

function fileSource(path: string): { kind: 'file'; path: string; format: 'raw' } {
  return { kind: 'file', path, format: 'raw' };
}

/** What a BIOS can say at most (INT 13h AH=08h); iPXE guesses more from a bad table. */
const HEADS_MAX = 255;
const SECTORS_MAX = 63;

/**
 * The geometry under which the system will boot later. What FDISK and FORMAT write follows from it,
 * so both agree. SeaBIOS left alone shows 16 to 255 heads by size (boot facts: geometry).
 */
function biosGeometry(geometry: Geometry): { geometry?: Geometry } {
  const { heads, sectorsPerTrack, cylinders } = geometry;
  if (heads > HEADS_MAX || sectorsPerTrack > SECTORS_MAX || cylinders === 0) return {};
  return { geometry };
}
