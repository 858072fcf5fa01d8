/**
 * Offsets in the Basic Header Segment (RFC 7143 §11). The hot path writes by these; the codecs of
 * this folder use the same numbers.
 */
export const BHS_BYTES = 48;
/** AHS length is one byte of 4-byte words. */
export const AHS_BYTES_MAX = 255 * 4;
export const DIGEST_BYTES = 4;

export const AT_OPCODE = 0;
export const AT_FLAGS = 1;
export const AT_RESPONSE = 2;
export const AT_STATUS = 3;
/** One byte of AHS length, then 24 bits of data segment length. */
export const AT_LENGTHS = 4;
export const AT_LUN = 8;
export const AT_ITT = 16;
export const AT_TTT = 20;
export const AT_EXPECTED_LENGTH = 20;
export const AT_CMD_SN = 24;
export const AT_STAT_SN = 24;
export const AT_EXP_STAT_SN = 28;
export const AT_EXP_CMD_SN = 28;
export const AT_MAX_CMD_SN = 32;
export const AT_CDB = 32;
export const AT_DATA_SN = 36;
export const AT_BUFFER_OFFSET = 40;
export const AT_RESIDUAL = 44;
export const AT_DESIRED_LENGTH = 44;

/** "No tag": a reserved ITT or TTT. */
export const RESERVED_TAG = 0xffffffff;

/** Opcodes (RFC 7143 §11.2.1.2), without the immediate bit. */
export const Opcode = {
  NOP_OUT: 0x00,
  SCSI_COMMAND: 0x01,
  TASK_MANAGEMENT_REQUEST: 0x02,
  LOGIN_REQUEST: 0x03,
  TEXT_REQUEST: 0x04,
  DATA_OUT: 0x05,
  LOGOUT_REQUEST: 0x06,
  SNACK_REQUEST: 0x10,
  NOP_IN: 0x20,
  SCSI_RESPONSE: 0x21,
  TASK_MANAGEMENT_RESPONSE: 0x22,
  LOGIN_RESPONSE: 0x23,
  TEXT_RESPONSE: 0x24,
  DATA_IN: 0x25,
  LOGOUT_RESPONSE: 0x26,
  R2T: 0x31,
  ASYNC_MESSAGE: 0x32,
  REJECT: 0x3f,
} as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

export const IMMEDIATE_BIT = 0x40;
export const OPCODE_MASK = 0x3f;
export const FINAL_BIT = 0x80;
export const CONTINUE_BIT = 0x40;

export const CommandFlag = { READ: 0x40, WRITE: 0x20, ATTRIBUTE_MASK: 0x07 } as const;
export const ResidualFlag = { OVERFLOW: 0x04, UNDERFLOW: 0x02 } as const;
export const DataInFlag = { ACKNOWLEDGE: 0x40, STATUS: 0x01 } as const;

/** Bytes of padding behind a data segment. */
export function paddingBytes(length: number): number {
  return -length & 3;
}
