import { AT_EXP_CMD_SN, AT_MAX_CMD_SN, AT_STAT_SN } from './offsets.ts';

/** The sequence numbers that every PDU of a target carries (RFC 7143 §4.2.2). */
export type TargetSequence = {
  readonly statSn: number;
  readonly expCmdSn: number;
  readonly maxCmdSn: number;
};

/** Writes StatSN, ExpCmdSN and MaxCmdSN. */
export function writeSequence(view: DataView, s: TargetSequence): void {
  view.setUint32(AT_STAT_SN, s.statSn);
  view.setUint32(AT_EXP_CMD_SN, s.expCmdSn);
  view.setUint32(AT_MAX_CMD_SN, s.maxCmdSn);
}

/** Reads StatSN, ExpCmdSN and MaxCmdSN. */
export function readSequence(view: DataView): TargetSequence {
  return {
    statSn: view.getUint32(AT_STAT_SN),
    expCmdSn: view.getUint32(AT_EXP_CMD_SN),
    maxCmdSn: view.getUint32(AT_MAX_CMD_SN),
  };
}
