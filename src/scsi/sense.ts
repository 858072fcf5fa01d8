import { PolybootError } from '#base/mod.ts';
import { putU64 } from './bytes.ts';

/** SAM-5 §5.3 status codes. */
export const Status = {
  GOOD: 0x00,
  CHECK_CONDITION: 0x02,
  CONDITION_MET: 0x04,
  BUSY: 0x08,
  RESERVATION_CONFLICT: 0x18,
  TASK_SET_FULL: 0x28,
  ACA_ACTIVE: 0x30,
  TASK_ABORTED: 0x40,
} as const;

/** SPC-4 §4.5.6 sense keys. */
export const SenseKey = {
  NO_SENSE: 0x0,
  NOT_READY: 0x2,
  MEDIUM_ERROR: 0x3,
  HARDWARE_ERROR: 0x4,
  ILLEGAL_REQUEST: 0x5,
  UNIT_ATTENTION: 0x6,
  DATA_PROTECT: 0x7,
  COPY_ABORTED: 0xa,
  ABORTED_COMMAND: 0xb,
  MISCOMPARE: 0xe,
} as const;

/** A sense key with its additional sense code and qualifier (SPC-4 §4.5.6, annex F). */
export type SenseCode = { readonly key: number; readonly asc: number; readonly ascq: number };

const code = (key: number, asc: number, ascq: number): SenseCode => ({ key, asc, ascq });
const K = SenseKey;

/** Every sense code that we report, by T10's name for it. */
export const Sense = {
  NONE: code(K.NO_SENSE, 0x00, 0x00),
  SANITIZE_IN_PROGRESS: code(K.NOT_READY, 0x04, 0x1b),
  NOT_RESPONDING: code(K.NOT_READY, 0x05, 0x00),
  MEDIUM_NOT_PRESENT: code(K.NOT_READY, 0x3a, 0x00),
  MEDIUM_NOT_PRESENT_TRAY_OPEN: code(K.NOT_READY, 0x3a, 0x02),
  UNRECOVERED_READ_ERROR: code(K.MEDIUM_ERROR, 0x11, 0x00),
  WRITE_ERROR: code(K.MEDIUM_ERROR, 0x0c, 0x00),
  SANITIZE_COMMAND_FAILED: code(K.MEDIUM_ERROR, 0x31, 0x03),
  FAILED_SELF_TEST: code(K.HARDWARE_ERROR, 0x3e, 0x03),
  INTERNAL_TARGET_FAILURE: code(K.HARDWARE_ERROR, 0x44, 0x00),
  PARAMETER_LIST_LENGTH: code(K.ILLEGAL_REQUEST, 0x1a, 0x00),
  INVALID_OPCODE: code(K.ILLEGAL_REQUEST, 0x20, 0x00),
  LBA_OUT_OF_RANGE: code(K.ILLEGAL_REQUEST, 0x21, 0x00),
  INVALID_FIELD_IN_CDB: code(K.ILLEGAL_REQUEST, 0x24, 0x00),
  LOGICAL_UNIT_NOT_SUPPORTED: code(K.ILLEGAL_REQUEST, 0x25, 0x00),
  INVALID_FIELD_IN_PARAMETER_LIST: code(K.ILLEGAL_REQUEST, 0x26, 0x00),
  INVALID_RELEASE_OF_PR: code(K.ILLEGAL_REQUEST, 0x26, 0x04),
  TOO_MANY_TARGET_DESCRIPTORS: code(K.ILLEGAL_REQUEST, 0x26, 0x06),
  UNSUPPORTED_TARGET_DESCRIPTOR: code(K.ILLEGAL_REQUEST, 0x26, 0x07),
  TOO_MANY_SEGMENT_DESCRIPTORS: code(K.ILLEGAL_REQUEST, 0x26, 0x08),
  UNSUPPORTED_SEGMENT_DESCRIPTOR: code(K.ILLEGAL_REQUEST, 0x26, 0x09),
  INCOMPATIBLE_FORMAT: code(K.ILLEGAL_REQUEST, 0x30, 0x02),
  SAVING_PARAMETERS_NOT_SUPPORTED: code(K.ILLEGAL_REQUEST, 0x39, 0x00),
  MEDIUM_REMOVAL_PREVENTED: code(K.ILLEGAL_REQUEST, 0x53, 0x02),
  INSUFFICIENT_REGISTRATION_RESOURCES: code(K.ILLEGAL_REQUEST, 0x55, 0x04),
  ILLEGAL_MODE_FOR_THIS_TRACK: code(K.ILLEGAL_REQUEST, 0x64, 0x00),
  MEDIUM_MAY_HAVE_CHANGED: code(K.UNIT_ATTENTION, 0x28, 0x00),
  POWER_ON_OR_RESET: code(K.UNIT_ATTENTION, 0x29, 0x00),
  BUS_DEVICE_RESET: code(K.UNIT_ATTENTION, 0x29, 0x03),
  NEXUS_LOSS: code(K.UNIT_ATTENTION, 0x29, 0x07),
  MODE_PARAMETERS_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x01),
  RESERVATIONS_PREEMPTED: code(K.UNIT_ATTENTION, 0x2a, 0x03),
  RESERVATIONS_RELEASED: code(K.UNIT_ATTENTION, 0x2a, 0x04),
  REGISTRATIONS_PREEMPTED: code(K.UNIT_ATTENTION, 0x2a, 0x05),
  CAPACITY_DATA_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x09),
  COMMANDS_CLEARED: code(K.UNIT_ATTENTION, 0x2f, 0x00),
  REPORTED_LUNS_CHANGED: code(K.UNIT_ATTENTION, 0x3f, 0x0e),
  WRITE_PROTECTED: code(K.DATA_PROTECT, 0x27, 0x00),
  SOFTWARE_WRITE_PROTECTED: code(K.DATA_PROTECT, 0x27, 0x02),
  SPACE_ALLOCATION_FAILED: code(K.DATA_PROTECT, 0x27, 0x07),
  COPY_TARGET_NOT_REACHABLE: code(K.COPY_ABORTED, 0x0d, 0x02),
  COPY_SEGMENT_FAILED: code(K.COPY_ABORTED, 0x0d, 0x01),
  MISCOMPARE_DURING_VERIFY: code(K.MISCOMPARE, 0x1d, 0x00),
} as const;

/** What sense data may say beside its code. */
export type SenseDetails = {
  /** INFORMATION: an LBA, or the byte offset of a miscompare. */
  readonly information?: number;
  /** Field pointer (SPC-4 §4.5.2.4.2): in the CDB or in the parameter list. */
  readonly field?: {
    readonly in: 'cdb' | 'data';
    readonly byte: number;
    readonly bit?: number | undefined;
  };
  /** Progress indication, 0 to 1 (SPC-4 §4.5.2.4.4). */
  readonly progress?: number;
};

const FIXED_BYTES = 18;

/** Builds sense data for a current error; `descriptor` as the Control mode page's D_SENSE says. */
export function encodeSense(
  sense: SenseCode,
  details: SenseDetails = {},
  descriptor = false,
): Uint8Array {
  return descriptor ? encodeDescriptor(sense, details) : encodeFixed(sense, details);
}

/** SPC-4 §4.5.3. */
function encodeFixed(sense: SenseCode, details: SenseDetails): Uint8Array {
  const b = Buffer.alloc(FIXED_BYTES);
  b[0] = 0x70;
  b[2] = sense.key;
  const { information } = details;
  if (information !== undefined && information < 2 ** 32) {
    b[0] = 0xf0;
    b.writeUInt32BE(information, 3);
  }
  b[7] = FIXED_BYTES - 8;
  b[12] = sense.asc;
  b[13] = sense.ascq;
  putKeySpecific(b, 15, details);
  return b;
}

/** SPC-4 §4.5.2. */
function encodeDescriptor(sense: SenseCode, details: SenseDetails): Uint8Array {
  const parts: Buffer[] = [Buffer.from([0x72, sense.key, sense.asc, sense.ascq, 0, 0, 0, 0])];
  if (details.information !== undefined) {
    const d = Buffer.from([0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    putU64(d, details.information, 4);
    parts.push(d);
  }
  if (details.field !== undefined || details.progress !== undefined) {
    const d = Buffer.from([0x02, 0x06, 0, 0, 0, 0, 0, 0]);
    putKeySpecific(d, 4, details);
    parts.push(d);
  }
  const all = Buffer.concat(parts);
  all[7] = all.length - 8;
  return all;
}

function putKeySpecific(b: Buffer, at: number, details: SenseDetails): void {
  const { field, progress } = details;
  if (field !== undefined) {
    const bit = field.bit === undefined ? 0 : 0x08 | field.bit;
    b[at] = 0x80 | (field.in === 'cdb' ? 0x40 : 0) | bit;
    b.writeUInt16BE(field.byte, at + 1);
  } else if (progress !== undefined) {
    b[at] = 0x80;
    b.writeUInt16BE(Math.min(0xffff, Math.floor(progress * 0x10000)), at + 1);
  }
}

/** How a command ends when not with GOOD. Thrown by handlers, caught by the logical unit. */
export class ScsiError extends PolybootError {
  readonly status: number;
  readonly sense: SenseCode | null;
  readonly details: SenseDetails;

  private constructor(status: number, sense: SenseCode | null, details: SenseDetails) {
    const code =
      sense === null ? '' : ` ${sense.key.toString(16)}/${hex(sense.asc)}/${hex(sense.ascq)}`;
    super('scsi-status', `SCSI status ${hex(status)}${code}`);
    this.status = status;
    this.sense = sense;
    this.details = details;
  }

  /** CHECK CONDITION with sense data. */
  static check(sense: SenseCode, details: SenseDetails = {}): ScsiError {
    return new ScsiError(Status.CHECK_CONDITION, sense, details);
  }

  /** RESERVATION CONFLICT, BUSY and others that have no sense data. */
  static status(status: number): ScsiError {
    return new ScsiError(status, null, {});
  }

  /** INVALID FIELD IN CDB, pointing at the byte and the highest wrong bit. */
  static invalidField(byte: number, bit?: number): ScsiError {
    return ScsiError.check(Sense.INVALID_FIELD_IN_CDB, { field: { in: 'cdb', byte, bit } });
  }

  /** INVALID FIELD IN PARAMETER LIST. */
  static invalidParameter(byte: number, bit?: number): ScsiError {
    const field = { in: 'data', byte, bit } as const;
    return ScsiError.check(Sense.INVALID_FIELD_IN_PARAMETER_LIST, { field });
  }
}

const hex = (n: number): string => n.toString(16).padStart(2, '0');
