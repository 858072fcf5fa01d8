import { putText, u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { LogicalUnit } from '../unit.ts';
import { peripheral } from './peripheral.ts';
import { vitalProductData } from './vpd.ts';

const STANDARD_BYTES = 96;
const SPC_4 = 0x06;
const RESPONSE_FORMAT = 0x02;
/** HISUP: LUNs are numbered as REPORT LUNS says. */
const HISUP = 0x10;
/** Implicit asymmetric access, and third-party copy. */
const TPGS_IMPLICIT = 0x10;
const THIRD_PARTY_COPY = 0x08;
const CMDQUE = 0x02;
const RMB = 0x80;

/** Version descriptors (SPC-4 table 144): SAM-5, SPC-4, iSCSI, then SBC-3 or MMC-6. */
const VERSIONS = [0x00a0, 0x0460, 0x0960] as const;
const SBC_3 = 0x04c0;
const MMC_6 = 0x02a0;

/** INQUIRY (SPC-4 §6.4). */
export const inquiry: CommandBody = {
  begin(task) {
    const evpd = (u8(task.cdb, 1) & 0x01) !== 0;
    const page = u8(task.cdb, 2);
    if (!evpd && page !== 0) throw ScsiError.invalidField(2);
    const data = evpd ? vitalProductData(task, page) : standard(task.unit);
    if (data === null) throw ScsiError.invalidField(2);
    task.reply(data);
  },
};

/** Standard INQUIRY data (SPC-4 §6.4.2). */
function standard(unit: LogicalUnit): Buffer {
  const data = Buffer.alloc(STANDARD_BYTES);
  data[0] = peripheral(unit);
  data[1] = unit.removable ? RMB : 0;
  data[2] = SPC_4;
  data[3] = HISUP | RESPONSE_FORMAT;
  data[4] = STANDARD_BYTES - 5;
  data[5] = TPGS_IMPLICIT | (unit.kind === 'disk' ? THIRD_PARTY_COPY : 0);
  data[7] = CMDQUE;
  putText(data, unit.identity.vendor, 8, 8);
  putText(data, unit.identity.product, 16, 16);
  putText(data, unit.identity.revision, 32, 4);
  const versions = [...VERSIONS, unit.kind === 'cdrom' ? MMC_6 : SBC_3];
  versions.forEach((v, i) => data.writeUInt16BE(v, 58 + 2 * i));
  return data;
}
