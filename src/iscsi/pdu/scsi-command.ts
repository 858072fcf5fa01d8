import { decodeAhs, encodeAhs } from './ahs.ts';
import type { AdditionalHeaders } from './ahs.ts';
import { blankPdu, copyBytes, headerOf, isImmediate, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CDB, AT_CMD_SN, AT_EXPECTED_LENGTH, AT_EXP_STAT_SN, AT_FLAGS } from './offsets.ts';
import { AT_ITT, BHS_BYTES, CommandFlag, FINAL_BIT, Opcode } from './offsets.ts';

/** SCSI Command (RFC 7143 §11.3), possibly with immediate data. */
export type ScsiCommandPdu = AdditionalHeaders & {
  readonly immediate: boolean;
  /** No unsolicited Data-Out PDU follows. */
  readonly final: boolean;
  readonly read: boolean;
  readonly write: boolean;
  readonly attribute: number;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly expectedLengthBytes: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
  /** The first 16 bytes, zero-padded. */
  readonly cdb: Uint8Array;
  readonly data: Uint8Array;
};

/** Builds a SCSI Command; `cdb` may be shorter than 16 bytes. */
export function encodeScsiCommand(p: ScsiCommandPdu): Pdu {
  const ahs = encodeAhs(p);
  const { pdu, view } = blankPdu(Opcode.SCSI_COMMAND, p.data, { immediate: p.immediate, ahs });
  const flags =
    (p.final ? FINAL_BIT : 0) |
    (p.read ? CommandFlag.READ : 0) |
    (p.write ? CommandFlag.WRITE : 0) |
    (p.attribute & CommandFlag.ATTRIBUTE_MASK);
  view.setUint8(AT_FLAGS, flags);
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_EXPECTED_LENGTH, p.expectedLengthBytes);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  pdu.header.set(p.cdb.subarray(0, 16), AT_CDB);
  return pdu;
}

/** Reads a SCSI Command; throws `DecodeError`. */
export function decodeScsiCommand(pdu: Pdu): ScsiCommandPdu {
  const view = headerOf(pdu, Opcode.SCSI_COMMAND);
  const flags = view.getUint8(AT_FLAGS);
  return {
    immediate: isImmediate(pdu),
    final: (flags & FINAL_BIT) !== 0,
    read: (flags & CommandFlag.READ) !== 0,
    write: (flags & CommandFlag.WRITE) !== 0,
    attribute: flags & CommandFlag.ATTRIBUTE_MASK,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    expectedLengthBytes: view.getUint32(AT_EXPECTED_LENGTH),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    cdb: copyBytes(pdu.header, AT_CDB, BHS_BYTES),
    ...decodeAhs(pdu.ahs),
    data: pdu.data,
  };
}
