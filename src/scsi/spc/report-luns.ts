import { u32, u8 } from '../bytes.ts';
import { REPORT_LUNS_LUN, encodeLun } from '../lun.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';

/** The smallest allocation length that can hold a header and one LUN (SPC-4 §6.33). */
const ALLOCATION_BYTES_MIN = 16;

/** SELECT REPORT codes. */
const NORMAL = 0x00;
const WELL_KNOWN = 0x01;
const ALL = 0x02;

/** REPORT LUNS data for a set of LUNs. Throws INVALID FIELD IN CDB. */
export function reportLunsData(cdb: Uint8Array, luns: readonly number[]): Buffer {
  if (u32(cdb, 6) < ALLOCATION_BYTES_MIN) throw ScsiError.invalidField(6);
  const select = u8(cdb, 2);
  if (select !== NORMAL && select !== WELL_KNOWN && select !== ALL) throw ScsiError.invalidField(2);
  const shown = [
    ...(select === WELL_KNOWN ? [] : luns),
    ...(select === NORMAL ? [] : [REPORT_LUNS_LUN]),
  ];
  const data = Buffer.alloc(8 + 8 * shown.length);
  data.writeUInt32BE(8 * shown.length, 0);
  shown.forEach((lun, i) => {
    encodeLun(lun, data, 8 + 8 * i);
  });
  return data.subarray(0, u32(cdb, 6));
}

/** REPORT LUNS (SPC-4 §6.33). */
export const reportLuns: CommandBody = {
  begin(task) {
    task.reply(reportLunsData(task.cdb, task.host.luns));
  },
};
