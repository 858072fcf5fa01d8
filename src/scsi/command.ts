import type { BlockDevice } from '#block/mod.ts';

/**
 * The seam between a transport (iSCSI) and a logical unit: one pooled `ScsiCommand` per command in
 * flight, filled by the transport, decided by `LogicalUnit.begin`, moved by the transport, closed
 * by `LogicalUnit.finish`. No allocation and no promise on the way of a cached READ or WRITE.
 *
 *   transport                        logical unit
 *   fill cdb, nexus, lengths   →     begin(command)   sets `phase`, direction and lengths
 *   phase READ:   device.tryRead / read straight into the output buffer, PDU by PDU
 *   phase WRITE:  device.tryWrite / write straight from the receive buffer, as data arrives
 *   phase GATHER: collect `transferBytes` into `dataOut`
 *   after the data of WRITE and GATHER, and for WAIT: finish(command, done) → phase DONE
 *   phase DONE:   send `dataIn` if any, then `status` and `sense`
 */
export const Phase = {
  /** `status`, `sense` and `dataIn` are final. */
  DONE: 0,
  /**
   * Data goes device → initiator: `extentOffsetBytes`, `transferBytes`; GOOD unless `fail` is
   * called.
   */
  READ: 1,
  /** Data goes initiator → device at `extentOffsetBytes`; then `finish`. */
  WRITE: 2,
  /**
   * Data goes initiator → `dataOut` (a parameter list, or VERIFY's compare data); then `finish`.
   */
  GATHER: 3,
  /** No data out; `finish` runs the command (SYNCHRONIZE CACHE, WRITE SAME with NDOB …). */
  WAIT: 4,
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/** Task attributes (SAM-5 §8.6), by their values in the SCSI Command PDU (RFC 7143 §11.3.1). */
export const TaskAttribute = {
  UNTAGGED: 0,
  SIMPLE: 1,
  ORDERED: 2,
  HEAD_OF_QUEUE: 3,
  ACA: 4,
} as const;

/** The initiator's side of an I_T nexus, as reservations and unit attentions see it. */
export interface Nexus {
  /** iSCSI initiator port name: `name,i,0xISID` (RFC 7143 §4.2.7.1). */
  readonly initiatorPort: string;
  /** iSCSI initiator name alone, for reports and for exclusive attachment. */
  readonly initiatorName: string;
  /** Relative target port and portal group the nexus came in on. */
  readonly targetPort: number;
}

export const CDB_BYTES_MAX = 32;
/** Parameter lists are small; data for COMPARE AND WRITE and VERIFY is bounded by Block Limits. */
export const GATHER_BYTES_MAX = 1024 * 1024;

/** One command in flight; see the protocol above. Pooled by the transport. */
export class ScsiCommand {
  /** The CDB, zero-padded to 32 bytes; the first `cdbBytes` are the initiator's. */
  readonly cdb: Uint8Array = new Uint8Array(CDB_BYTES_MAX);
  cdbBytes = 0;
  lun = 0;
  attribute: number = TaskAttribute.SIMPLE;
  nexus: Nexus | null = null;
  /** Expected Data Transfer Length of the transport, per direction (bidirectional is refused). */
  expectedInBytes = 0;
  expectedOutBytes = 0;

  phase: Phase = Phase.DONE;
  device: BlockDevice | null = null;
  extentOffsetBytes = 0;
  /** What the command itself moves: before residuals are worked out against the expected length. */
  transferBytes = 0;
  /** GATHER: filled by the transport; its first `transferBytes` are valid at `finish`. */
  dataOut: Uint8Array | null = null;
  /** DONE: what goes to the initiator, already cut to the allocation length. */
  dataIn: Uint8Array | null = null;
  /** SAM-5 status code. */
  status = 0;
  /** Fixed- or descriptor-format sense data, without the transport's length prefix. */
  sense: Uint8Array | null = null;
  /** The row of the command table and per-command scratch of the logical unit's layer. */
  context: unknown = null;

  /** Makes the object ready for the next command. */
  reset(): void {
    this.cdb.fill(0);
    this.cdbBytes = 0;
    this.lun = 0;
    this.attribute = TaskAttribute.SIMPLE;
    this.nexus = null;
    this.expectedInBytes = 0;
    this.expectedOutBytes = 0;
    this.phase = Phase.DONE;
    this.device = null;
    this.extentOffsetBytes = 0;
    this.transferBytes = 0;
    this.dataOut = null;
    this.dataIn = null;
    this.status = 0;
    this.sense = null;
    this.context = null;
  }
}

/**
 * What a transport needs of a SCSI target device. `LogicalUnitSet` in this folder implements it.
 */
export interface ScsiTarget {
  /** Decodes and checks; sets `phase` and what goes with it. Never throws for bad input. */
  begin(command: ScsiCommand): void;
  /**
   * Runs what is left after the data phase; `done` is called once, with `command.phase` DONE.
   * May call it before it returns.
   */
  finish(command: ScsiCommand, done: (command: ScsiCommand) => void): void;
  /**
   * The transport aborted a command that is in `finish`, or has operations under way. Long work
   * stops at its next piece, what waits for the device is answered at once. `done` is still called
   * once, early where what goes on is the unit's own work (SANITIZE, SBC-3 §5.27). Until then the
   * command is in use.
   */
  abandon?(command: ScsiCommand): void;
  /**
   * Turns a device error in a READ or WRITE phase, or a fault of the transport as a `ScsiError`,
   * into CHECK CONDITION; sets phase DONE.
   */
  fail(command: ScsiCommand, error: unknown): void;
  /**
   * The nexus came, was lost, or was reset: unit attentions and reservations follow (SAM-5 §6.3).
   */
  nexusAdded(nexus: Nexus): void;
  nexusRemoved(nexus: Nexus): void;
  /**
   * Task management that reaches the unit (SAM-5 §7). The transport has aborted its tasks already.
   */
  logicalUnitReset(lun: number, by: Nexus): boolean;
  targetReset(by: Nexus): void;
  hasLun(lun: number): boolean;
}
