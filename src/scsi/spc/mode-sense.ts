import { putU64, u8 } from '../bytes.ts';
import { PageControl } from '../mode-pages.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const DBD = 0x08;
const LLBAA = 0x10;
const WP = 0x80;
const DPOFUA = 0x10;
const LONG_LBA = 0x01;

/** MODE SENSE(6) (SPC-4 §6.11). */
export const modeSense6: CommandBody = {
  begin(task) {
    const blocks = blockDescriptor(task, false);
    const pages = renderPages(task);
    const header = Buffer.alloc(4);
    header[0] = 3 + blocks.length + pages.length;
    header[2] = deviceSpecific(task);
    header[3] = blocks.length;
    task.reply(Buffer.concat([header, blocks, pages]));
  },
};

/** MODE SENSE(10) (SPC-4 §6.12). */
export const modeSense10: CommandBody = {
  begin(task) {
    const long = (u8(task.cdb, 1) & LLBAA) !== 0;
    const blocks = blockDescriptor(task, long);
    const pages = renderPages(task);
    const header = Buffer.alloc(8);
    header.writeUInt16BE(6 + blocks.length + pages.length, 0);
    header[3] = deviceSpecific(task);
    header[4] = long && blocks.length > 0 ? LONG_LBA : 0;
    header.writeUInt16BE(blocks.length, 6);
    task.reply(Buffer.concat([header, blocks, pages]));
  },
};

function renderPages(task: Task): Buffer {
  const control = u8(task.cdb, 2) >> 6;
  if (control === PageControl.SAVED && !task.unit.modes.saves) {
    throw ScsiError.check(Sense.SAVING_PARAMETERS_NOT_SUPPORTED);
  }
  const code = u8(task.cdb, 2) & 0x3f;
  const subpage = u8(task.cdb, 3);
  const pages = task.unit.modes.render(code, subpage, control);
  if (pages === null) {
    const known = task.unit.modes.render(code, 0, control) !== null;
    throw known ? ScsiError.invalidField(3) : ScsiError.invalidField(2, 5);
  }
  return pages;
}

/** SBC-3 §6.5.1. MMC defines none of these bits. */
function deviceSpecific({ unit }: Task): number {
  if (unit.kind === 'cdrom') return 0;
  const protectedNow = unit.readOnly || unit.modes.softwareWriteProtect;
  return (protectedNow ? WP : 0) | DPOFUA;
}

/** SBC-3 §6.5.2; none for a CD-ROM (MMC-6 §7.2.1). */
function blockDescriptor(task: Task, long: boolean): Buffer {
  const { unit } = task;
  if ((u8(task.cdb, 1) & DBD) !== 0 || unit.kind === 'cdrom') return Buffer.alloc(0);
  if (long) {
    const descriptor = Buffer.alloc(16);
    putU64(descriptor, unit.blocks, 0);
    descriptor.writeUInt32BE(unit.blockBytes, 12);
    return descriptor;
  }
  const descriptor = Buffer.alloc(8);
  descriptor.writeUInt32BE(Math.min(unit.blocks, 0xffffffff), 0);
  descriptor.writeUInt32BE(unit.blockBytes, 4);
  return descriptor;
}
