import { u16, u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody, CommandRow } from '../table.ts';
import type { Task } from '../task.ts';

const RCTD = 0x80;
/** Reporting options (SPC-4 table 225). */
const Option = { ALL: 0, OPCODE: 1, ACTION: 2, EITHER: 3 } as const;

const SUPPORTED = 0x03;
const NOT_SUPPORTED = 0x01;
const CTDP_ONE = 0x80;
const CTDP_ALL = 0x02;
const SERVACTV = 0x01;
/** A command time-outs descriptor (SPC-4 §6.35.4) that gives no times. */
const TIMEOUTS = Buffer.from([0x00, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/** REPORT SUPPORTED OPERATION CODES (SPC-4 §6.35), straight from the command table. */
export const reportSupportedOpcodes: CommandBody = {
  begin(task) {
    const timeouts = (u8(task.cdb, 2) & RCTD) !== 0;
    const option = u8(task.cdb, 2) & 0x07;
    const data = option === Option.ALL ? allCommands(task, timeouts) : one(task, option, timeouts);
    task.reply(data);
  },
};

function allCommands(task: Task, timeouts: boolean): Buffer {
  const descriptors = task.unit.commands.rows.map((row) => {
    const d = Buffer.alloc(8);
    d[0] = u8(row.cdb, 0);
    if (row.action >= 0) d.writeUInt16BE(row.action, 2);
    d[5] = (timeouts ? CTDP_ALL : 0) | (row.action >= 0 ? SERVACTV : 0);
    d.writeUInt16BE(row.cdb.length, 6);
    return timeouts ? Buffer.concat([d, TIMEOUTS]) : d;
  });
  const list = Buffer.concat(descriptors);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(list.length, 0);
  return Buffer.concat([header, list]);
}

function one(task: Task, option: number, timeouts: boolean): Buffer {
  const row = find(task, option);
  if (row === undefined) return Buffer.from([0, NOT_SUPPORTED, 0, 0]);
  const header = Buffer.from([0, SUPPORTED | (timeouts ? CTDP_ONE : 0), 0, row.cdb.length]);
  return Buffer.concat([header, row.cdb, timeouts ? TIMEOUTS : Buffer.alloc(0)]);
}

function find(task: Task, option: number): CommandRow | undefined {
  const { commands } = task.unit;
  const opcode = u8(task.cdb, 3);
  const action = u16(task.cdb, 4);
  const known = commands.find(opcode, -1) !== undefined || commands.hasActions(opcode);
  switch (option) {
    case Option.OPCODE:
      // "This command has service actions" is an error here (SPC-4 table 225).
      if (commands.hasActions(opcode)) throw ScsiError.invalidField(2, 2);
      return commands.find(opcode, -1);
    case Option.ACTION:
      if (known && !commands.hasActions(opcode)) throw ScsiError.invalidField(2, 2);
      return commands.find(opcode, action);
    case Option.EITHER:
      if (commands.hasActions(opcode)) return commands.find(opcode, action);
      return action === 0 ? commands.find(opcode, -1) : undefined;
    default:
      throw ScsiError.invalidField(2, 2);
  }
}
