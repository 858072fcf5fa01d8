import { u8 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';
import { PORT_GROUP } from './designators.ts';

const EXTENDED_FORMAT = 0x20;
const ACTIVE_OPTIMIZED = 0x00;
/** T_SUP, and of the states only active/optimized. */
const SUPPORTED_STATES = 0x80 | 0x01;

/** REPORT TARGET PORT GROUPS (SPC-4 §6.37): one group, every port as good as any other. */
export const reportTargetPortGroups: CommandBody = {
  begin(task) {
    const ports = [...new Set([task.nexus.targetPort, ...task.host.targetPorts])].sort(
      (a, b) => a - b,
    );
    const group = Buffer.alloc(8 + 4 * ports.length);
    group[0] = ACTIVE_OPTIMIZED;
    group[1] = SUPPORTED_STATES;
    group.writeUInt16BE(PORT_GROUP, 2);
    group[7] = ports.length;
    ports.forEach((port, i) => group.writeUInt16BE(port, 8 + 4 * i + 2));
    const extended = (u8(task.cdb, 1) & 0xe0) === EXTENDED_FORMAT;
    const header = Buffer.alloc(extended ? 8 : 4);
    header.writeUInt32BE(header.length - 4 + group.length, 0);
    if (extended) header[4] = 0x10;
    task.reply(Buffer.concat([header, group]));
  },
};
