import type { BlockDevice } from '#block/mod.ts';
import { field } from './bytes.ts';
import { GATHER_BYTES_MAX, Phase } from './command.ts';
import type { Nexus, ScsiCommand } from './command.ts';
import { ScsiError, Sense, Status } from './sense.ts';
import { TRANSFER_BLOCKS_MAX } from './table.ts';
import type { CommandRow } from './table.ts';
import type { LogicalUnit } from './unit.ts';

/** What a command may see of the target it came in by: never more than its initiator may use. */
export interface UnitHost {
  /** The target's iSCSI name; null where the transport has none. */
  readonly targetName: string | null;
  /** Relative identifiers of the target's ports. */
  readonly targetPorts: readonly number[];
  /** LUNs in ascending order. */
  readonly luns: readonly number[];
  /** The unit of a LUN. */
  unitAt(lun: number): LogicalUnit | undefined;
}

/**
 * One command on the way through its row: what the handlers of `spc/`, `sbc/` and `mmc/` get. Made
 * for every command that is not a plain READ or WRITE of a healthy unit.
 */
export class Task {
  readonly unit: LogicalUnit;
  readonly command: ScsiCommand;
  readonly row: CommandRow;
  readonly nexus: Nexus;
  /** The target the command came in by. */
  readonly host: UnitHost;
  /** Decoded by the row's LBA rule; checked to be within the medium. */
  lba = 0;
  blocks = 0;
  /** What a handler carries from `begin` to `finish`. */
  carried: unknown = null;
  /**
   * Set by a `finish` whose work outlives the command: called when nobody waits for it any more.
   */
  abandoned: (() => void) | null = null;
  /** The transport gave the command up: long work stops at its next `checkpoint`. */
  cancelled = false;

  constructor(
    unit: LogicalUnit,
    command: ScsiCommand,
    row: CommandRow,
    nexus: Nexus,
    host: UnitHost,
  ) {
    this.unit = unit;
    this.host = host;
    this.command = command;
    this.row = row;
    this.nexus = nexus;
  }

  get cdb(): Uint8Array {
    return this.command.cdb;
  }

  get offsetBytes(): number {
    return this.lba * this.unit.blockBytes;
  }

  get lengthBytes(): number {
    return this.blocks * this.unit.blockBytes;
  }

  /**
   * Takes LBA and count out of the CDB as the row's rule says. Throws LBA OUT OF RANGE, or INVALID
   * FIELD IN CDB for more than one transfer may move.
   */
  locate(): void {
    const rule = this.row.lba;
    if (rule === null) return;
    const { cdb, unit } = this;
    this.lba = field(cdb, rule.lbaAt, rule.lbaBytes);
    // READ(6) and WRITE(6) share the first byte of their 21-bit LBA with the old LUN field.
    if (rule.lbaBytes === 3) this.lba %= 2 ** 21;
    this.blocks = rule.countBytes === 0 ? 1 : field(cdb, rule.countAt, rule.countBytes);
    if (this.blocks === 0 && rule.zero === '256') this.blocks = 256;
    unit.checkRange(this.lba, this.blocks);
    if (this.blocks === 0 && rule.zero === 'rest') this.blocks = unit.blocks - this.lba;
    if (rule.moves && this.blocks > TRANSFER_BLOCKS_MAX) throw ScsiError.invalidField(rule.countAt);
  }

  /** Between two pieces of long work: throws when nobody waits for it any more. */
  checkpoint(): void {
    if (this.cancelled) throw ScsiError.status(Status.TASK_ABORTED);
  }

  /** Ends without data. */
  good(status: number = Status.GOOD): void {
    this.command.phase = Phase.DONE;
    this.command.status = status;
  }

  /** How much of an answer the initiator takes, by the row's rule. */
  get allocationBytes(): number {
    const rule = this.row.allocation;
    return rule === null ? Infinity : field(this.cdb, rule.at, rule.bytes);
  }

  /** Ends with data for the initiator, cut to its allocation length (SPC-4 §4.3.5.6). */
  reply(data: Uint8Array): void {
    this.good();
    const most = this.allocationBytes;
    this.command.dataIn = data.length > most ? data.subarray(0, most) : data;
    this.command.transferBytes = this.command.dataIn.length;
  }

  /** The blocks of the LBA rule go to the initiator. */
  sendBlocks(device: BlockDevice = this.unit.reader): void {
    if (this.blocks === 0) return this.good();
    return this.#move(Phase.READ, device);
  }

  /** The blocks of the LBA rule come from the initiator, into the unit's device or another. */
  receiveBlocks(device: BlockDevice = this.unit.writer): void {
    if (this.blocks === 0) return this.good();
    return this.#move(Phase.WRITE, device);
  }

  /** `lengthBytes` come from the initiator into memory; `parameters` then has them. */
  #gather(lengthBytes: number, fieldByte: number): void {
    if (lengthBytes > GATHER_BYTES_MAX) throw ScsiError.invalidField(fieldByte);
    this.command.phase = Phase.GATHER;
    this.command.transferBytes = lengthBytes;
  }

  /**
   * `gather` for data whose length the CDB fixes: what the initiator means to send must be just
   * that much, or its CDB is not what it thinks.
   */
  gatherExactly(lengthBytes: number, fieldByte: number): void {
    if (this.command.expectedOutBytes !== lengthBytes) throw ScsiError.invalidField(fieldByte);
    this.#gather(lengthBytes, fieldByte);
  }

  /** `gather` for a parameter list: the initiator must send as much as its CDB says. */
  gatherList(lengthBytes: number, fieldByte: number): void {
    if (this.command.expectedOutBytes < lengthBytes) {
      throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
    }
    this.#gather(lengthBytes, fieldByte);
  }

  /** What was gathered. */
  get parameters(): Uint8Array {
    const { dataOut, transferBytes } = this.command;
    return dataOut === null ? new Uint8Array() : dataOut.subarray(0, transferBytes);
  }

  /** No data; `finish` does the work. */
  wait(): void {
    this.command.phase = Phase.WAIT;
  }

  #move(phase: Phase, device: BlockDevice): void {
    const { command } = this;
    command.phase = phase;
    command.device = device;
    command.extentOffsetBytes = this.offsetBytes;
    command.transferBytes = this.lengthBytes;
  }
}
