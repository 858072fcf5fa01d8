import { u16, u32, u8 } from './bytes.ts';
import { Phase } from './command.ts';
import type { ScsiCommand } from './command.ts';
import { REPORT_LUNS_LUN } from './lun.ts';
import { ScsiError, Sense, Status, encodeSense } from './sense.ts';
import { reportLunsData } from './spc/report-luns.ts';

const TEST_UNIT_READY = 0x00;
const REQUEST_SENSE = 0x03;
const INQUIRY = 0x12;
const REPORT_LUNS = 0xa0;

/** Peripheral qualifier 011b with type 1Fh: there is no such unit; 1Eh: a well-known unit. */
const ABSENT = 0x7f;
const WELL_KNOWN = 0x1e;
const SPC_4 = 0x06;
const RESPONSE_FORMAT = 0x02;

/**
 * Commands to a LUN that has no unit: the REPORT LUNS well-known unit (SPC-4 §8.2), LUN 0, which
 * answers REPORT LUNS in any case, and nothing at all (SPC-4 §6.4.1).
 */
export function beginAbsent(command: ScsiCommand, luns: readonly number[]): void {
  const { cdb, lun } = command;
  const wellKnown = lun === REPORT_LUNS_LUN;
  try {
    const opcode = u8(cdb, 0);
    if (opcode === REPORT_LUNS && (lun === 0 || wellKnown)) {
      answer(command, reportLunsData(cdb, luns), u32(cdb, 6));
    } else if (opcode === INQUIRY) {
      answer(command, inquiryData(cdb, wellKnown ? WELL_KNOWN : ABSENT), u16(cdb, 3));
    } else if (opcode === REQUEST_SENSE) {
      const code = wellKnown ? Sense.NONE : Sense.LOGICAL_UNIT_NOT_SUPPORTED;
      answer(command, encodeSense(code, {}, (u8(cdb, 1) & 0x01) !== 0), u8(cdb, 4));
    } else if (wellKnown) {
      if (opcode !== TEST_UNIT_READY) throw ScsiError.check(Sense.INVALID_OPCODE);
      answer(command, null, 0);
    } else {
      endAbsent(command);
    }
  } catch (e) {
    end(command, e instanceof ScsiError ? e : ScsiError.check(Sense.INTERNAL_TARGET_FAILURE));
  }
}

/** Ends a command to a LUN that has no unit, or none any more. */
export function endAbsent(command: ScsiCommand): void {
  end(command, ScsiError.check(Sense.LOGICAL_UNIT_NOT_SUPPORTED));
}

/** Standard INQUIRY data without names; VPD pages there are none. */
function inquiryData(cdb: Uint8Array, type: number): Buffer {
  if ((u8(cdb, 1) & 0x01) !== 0) throw ScsiError.invalidField(1, 0);
  if (u8(cdb, 2) !== 0) throw ScsiError.invalidField(2);
  const data = Buffer.alloc(36);
  data[0] = type;
  data[2] = SPC_4;
  data[3] = RESPONSE_FORMAT;
  data[4] = data.length - 5;
  data.fill(0x20, 8);
  return data;
}

function answer(command: ScsiCommand, data: Uint8Array | null, allocationBytes: number): void {
  command.phase = Phase.DONE;
  command.status = Status.GOOD;
  command.dataIn = data?.subarray(0, allocationBytes) ?? null;
  command.transferBytes = command.dataIn?.length ?? 0;
}

function end(command: ScsiCommand, error: ScsiError): void {
  command.phase = Phase.DONE;
  command.status = error.status;
  command.sense = error.sense === null ? null : encodeSense(error.sense, error.details);
  command.dataIn = null;
  command.transferBytes = 0;
}
