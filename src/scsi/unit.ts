import { invariant } from '#base/mod.ts';
import { BlockError, RangeLockDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { Attentions } from './attention.ts';
import { scsiErrorOf } from './block-sense.ts';
import { field, u16, u32, u64, u8 } from './bytes.ts';
import { GATHER_BYTES_MAX, Phase } from './command.ts';
import type { Nexus, ScsiCommand } from './command.ts';
import { commandsOf } from './commands.ts';
import { flushDevice } from './device-io.ts';
import { Medium } from './medium.ts';
import { ModePages } from './mode-pages.ts';
import type { UnitIdentity, UnitOptions } from './profile.ts';
import { Reservations } from './reservation.ts';
import type { Registration, ReservationEvent, ReservationRule } from './reservation.ts';
import { ScsiError, Sense, Status, encodeSense } from './sense.ts';
import type { SenseCode } from './sense.ts';
import { CopyResults } from './spc/copy-results.ts';
import { TRANSFER_BLOCKS_MAX, checkUsage } from './table.ts';
import type { CommandRow, CommandTable, LbaRule } from './table.ts';
import { Task } from './task.ts';
import type { UnitHost } from './task.ts';

const READ_10 = 0x28;
const WRITE_10 = 0x2a;
const READ_16 = 0x88;
const WRITE_16 = 0x8a;
/** Of READ and WRITE's byte 1: a hint that we need not follow. */
const DPO = 0x10;

/** Commands that do not report a unit attention (SAM-5 §5.14.4). */
const INQUIRY = 0x12;
const REPORT_LUNS = 0xa0;
const REQUEST_SENSE = 0x03;

/**
 * One logical unit: a device, and the state that initiators see. Plain READ(10/16) and WRITE(10/16)
 * of a healthy unit take `beginFast`, which only loads bytes and compares; all else goes through
 * the command table in the order *attention → row → CDB bits → reservation → medium → write
 * protection → LBA range → handler*.
 */
export class LogicalUnit {
  readonly identity: UnitIdentity;
  readonly kind: 'disk' | 'cdrom';
  readonly removable: boolean;
  readonly options: UnitOptions;
  readonly modes: ModePages;
  readonly reservations = new Reservations();
  readonly medium: Medium;
  readonly attentions: Attentions;
  readonly commands: CommandTable;
  readonly copyResults = new CopyResults();
  /** Where reads go: the device itself. */
  readonly reader: BlockDevice;
  /** Where writes go: the device behind the range locks of COMPARE AND WRITE. */
  readonly writer: RangeLockDevice;
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  #blocks: number;
  #fastReads = true;
  #fastWrites = true;

  constructor(options: UnitOptions) {
    this.options = options;
    this.identity = options.identity;
    this.kind = options.kind ?? 'disk';
    this.removable = options.removable ?? this.kind === 'cdrom';
    this.reader = options.device;
    this.writer = new RangeLockDevice(options.device);
    this.blockBytes = options.device.blockBytes;
    this.physicalBlockBytes = options.physicalBlockBytes ?? this.blockBytes;
    invariant(Number.isInteger(Math.log2(this.physicalBlockBytes / this.blockBytes)), '2^n blocks');
    this.#blocks = options.device.sizeBytes / this.blockBytes;
    invariant(Number.isInteger(this.#blocks) && this.#blocks > 0, 'whole blocks');
    this.modes = new ModePages(this.kind, this.#defaultWriteCache);
    this.medium = new Medium(this.kind === 'cdrom');
    this.attentions = new Attentions(() => {
      this.update();
    });
    this.commands = commandsOf(this);
    const kept = options.reservations?.initial ?? null;
    if (kept !== null) this.reservations.restore(kept);
    this.update();
  }

  /** Logical blocks on the medium. */
  get blocks(): number {
    return this.#blocks;
  }

  get readOnly(): boolean {
    return this.kind === 'cdrom' || this.reader.readOnly;
  }

  /** Thin: UNMAP gives space back; of a read-only disk it would, were it not refused. */
  get thin(): boolean {
    return this.kind === 'disk' && (this.reader.canDiscard || this.reader.readOnly);
  }

  /** SANITIZE CRYPTOGRAPHIC ERASE is possible. */
  get encrypted(): boolean {
    return this.kind === 'disk' && this.reader.cryptoErase !== undefined;
  }

  /** The longest WRITE ATOMIC; 0: there is none. */
  get atomicBlocksMax(): number {
    const bytes = Math.min(this.options.atomicLog?.bytesMax ?? 0, GATHER_BYTES_MAX);
    return Math.floor(bytes / this.blockBytes);
  }

  /** Every write must be on stable media before GOOD. */
  get writeThrough(): boolean {
    return !this.modes.writeCache;
  }

  /** Works out again whether the fast path may be taken. Call after any change of state. */
  update(): void {
    const healthy = this.medium.ready && !this.attentions.any && this.reservations.idle;
    this.#fastReads = healthy;
    const protectedNow = this.readOnly || this.modes.softwareWriteProtect;
    this.#fastWrites = healthy && !protectedNow && !this.writeThrough;
  }

  /** Takes a plain READ or WRITE; false: take `begin`. Allocates nothing. */
  beginFast(command: ScsiCommand): boolean {
    const { cdb } = command;
    let lba = 0;
    let blocks = 0;
    const opcode = u8(cdb, 0);
    if (opcode === READ_10 || opcode === WRITE_10) {
      if (u8(cdb, 6) !== 0 || u8(cdb, 9) !== 0) return false;
      lba = u32(cdb, 2);
      blocks = u16(cdb, 7);
    } else if (opcode === READ_16 || opcode === WRITE_16) {
      if (u8(cdb, 14) !== 0 || u8(cdb, 15) !== 0) return false;
      lba = u64(cdb, 2);
      blocks = u32(cdb, 10);
    } else {
      return false;
    }
    if (blocks === 0 || blocks > TRANSFER_BLOCKS_MAX || lba + blocks > this.#blocks) return false;
    if ((u8(cdb, 1) & ~DPO) !== 0) return false;
    const reads = opcode === READ_10 || opcode === READ_16;
    if (!(reads ? this.#fastReads : this.#fastWrites)) return false;
    command.context = null;
    command.device = reads ? this.reader : this.writer;
    command.extentOffsetBytes = lba * this.blockBytes;
    command.transferBytes = blocks * this.blockBytes;
    command.phase = reads ? Phase.READ : Phase.WRITE;
    return true;
  }

  /** Decides any command; never throws. */
  begin(command: ScsiCommand, host: UnitHost): void {
    try {
      const { nexus } = command;
      invariant(nexus !== null, 'a command has a nexus');
      this.#reportAttention(command, nexus);
      const row = this.commands.lookup(command.cdb);
      checkUsage(row, command.cdb, command.cdbBytes);
      if (this.reservations.conflicts(nexus, reservationRule(row, command.cdb))) {
        throw ScsiError.status(Status.RESERVATION_CONFLICT);
      }
      if (row.needs === 'medium') this.checkReady();
      if (row.writes) this.checkWritable();
      const task = new Task(this, command, row, nexus, host);
      if (row.lba !== null) this.#locate(task, row.lba);
      command.context = task;
      row.body.begin(task);
    } catch (e) {
      this.#end(command, e);
    }
  }

  /** Runs what is left after the data; `done` once, with phase DONE. */
  finish(command: ScsiCommand, done: (command: ScsiCommand) => void): void {
    const { context } = command;
    if (!(context instanceof Task)) {
      command.phase = Phase.DONE;
      command.status = Status.GOOD;
      done(command);
      return;
    }
    let rest: Promise<void> | undefined;
    try {
      rest = context.row.body.finish?.(context);
    } catch (e) {
      this.#end(command, e);
      done(command);
      return;
    }
    if (rest === undefined) {
      settle(command);
      done(command);
      return;
    }
    rest.then(
      () => {
        settle(command);
        done(command);
      },
      (e: unknown) => {
        this.#end(command, e);
        done(command);
      },
    );
  }

  /** The transport gave up a command that is in `finish`. */
  abandon(command: ScsiCommand): void {
    if (command.context instanceof Task) command.context.abandoned?.();
  }

  /** A device error in a READ or WRITE phase. */
  fail(command: ScsiCommand, error: unknown): void {
    this.#end(command, error, command.phase === Phase.READ ? 'read' : 'write');
  }

  /** Throws what stands against using the medium. */
  checkReady(): void {
    const obstacle = this.medium.obstacle;
    if (obstacle !== null) throw obstacle;
  }

  /** Throws DATA PROTECT when nothing may be written (hostile case 33). */
  checkWritable(): void {
    if (this.readOnly) throw ScsiError.check(Sense.WRITE_PROTECTED);
    if (this.modes.softwareWriteProtect) throw ScsiError.check(Sense.SOFTWARE_WRITE_PROTECTED);
  }

  /** Throws LBA OUT OF RANGE when the blocks are not all on the medium. */
  checkRange(lba: number, blocks: number): void {
    if (lba + blocks <= this.#blocks && (blocks > 0 || lba < this.#blocks)) return;
    const information = Math.max(lba, this.#blocks);
    throw ScsiError.check(Sense.LBA_OUT_OF_RANGE, { information });
  }

  /** All acknowledged writes to stable media; a failure is the end of this unit (contract 4). */
  async flush(): Promise<void> {
    try {
      await flushDevice(this.writer);
    } catch (e) {
      this.medium.failed = true;
      this.update();
      // The first one names what was lost; from then on the unit is simply broken.
      throw e instanceof BlockError && e.kind !== 'gone' ? ScsiError.check(Sense.WRITE_ERROR) : e;
    }
  }

  nexusAdded(nexus: Nexus, attention: SenseCode): void {
    // Nobody can push a tray in: the machine that comes first finds it closed.
    if (!this.attentions.anyone) this.medium.loaded = true;
    this.attentions.join(nexus);
    this.attentions.establish(nexus, attention);
    this.update();
  }

  nexusRemoved(nexus: Nexus): void {
    this.attentions.leave(nexus);
    this.copyResults.forget(nexus);
    this.medium.allow(nexus);
    if (this.reservations.legacyHolder === nexus) this.reservations.legacyHolder = null;
    this.update();
  }

  /** Logical unit reset (SAM-5 §6.3.3). Persistent reservations stay. */
  reset(): void {
    this.reservations.legacyHolder = null;
    this.medium.allowAll();
    this.modes.reset();
    this.attentions.reset(Sense.BUS_DEVICE_RESET);
    this.update();
  }

  /** The device has another size than before: takes it over and tells everybody. */
  resized(): void {
    this.#blocks = Math.floor(this.reader.sizeBytes / this.blockBytes);
    this.attentions.establishForAll(Sense.CAPACITY_DATA_CHANGED);
  }

  /** Passes on what a reservation command has to tell others. */
  tellRegistrants(events: readonly ReservationEvent[]): void {
    for (const { to, attention } of events) {
      for (const nexus of this.nexusesOf(to)) this.attentions.establish(nexus, attention);
    }
    this.update();
  }

  /** The sessions that a registration stands for now. */
  nexusesOf(r: Readonly<Registration>): Nexus[] {
    return [...this.attentions.nexuses].filter(
      (n) => n.initiatorPort === r.initiatorPort && n.targetPort === r.targetPort,
    );
  }

  /** Sense data in the format the initiator chose. */
  encodeSense(error: ScsiError): Uint8Array | null {
    if (error.sense === null) return null;
    return encodeSense(error.sense, error.details, this.modes.descriptorSense);
  }

  get #defaultWriteCache(): boolean {
    return this.options.cache !== 'writethrough';
  }

  #reportAttention(command: ScsiCommand, nexus: Nexus): void {
    if (!this.attentions.any) return;
    const opcode = u8(command.cdb, 0);
    if (opcode === INQUIRY || opcode === REPORT_LUNS || opcode === REQUEST_SENSE) return;
    const code = this.attentions.take(nexus);
    if (code !== undefined) throw ScsiError.check(code);
  }

  #locate(task: Task, rule: LbaRule): void {
    const { cdb } = task;
    task.lba = field(cdb, rule.lbaAt, rule.lbaBytes);
    // READ(6) and WRITE(6) share the first byte of their 21-bit LBA with the old LUN field.
    if (rule.lbaBytes === 3) task.lba %= 2 ** 21;
    task.blocks = rule.countBytes === 0 ? 1 : field(cdb, rule.countAt, rule.countBytes);
    if (task.blocks === 0 && rule.zero === '256') task.blocks = 256;
    this.checkRange(task.lba, task.blocks);
    if (task.blocks === 0 && rule.zero === 'rest') task.blocks = this.#blocks - task.lba;
    if (rule.moves && task.blocks > TRANSFER_BLOCKS_MAX) throw ScsiError.invalidField(rule.countAt);
  }

  #end(command: ScsiCommand, e: unknown, direction?: 'read' | 'write'): void {
    const writes = command.context instanceof Task && command.context.row.writes;
    if (e instanceof BlockError && e.kind === 'failed') {
      this.medium.failed = true;
      this.update();
    }
    const error = scsiErrorOf(e, direction ?? (writes ? 'write' : 'read'), this.blockBytes);
    command.phase = Phase.DONE;
    command.status = error.status;
    command.sense = this.encodeSense(error);
    command.dataIn = null;
    command.transferBytes = 0;
  }
}

/** START STOP UNIT is as a write unless it only starts (SBC-3 table 13). */
function reservationRule(row: CommandRow, cdb: Uint8Array): ReservationRule {
  if (row.reservation !== 'start') return row.reservation;
  const startsOnly = (u8(cdb, 4) & 0xf1) === 0x01;
  return startsOnly ? 'allowed' : 'write';
}

/** A command whose handler did not end it otherwise is GOOD. */
function settle(command: ScsiCommand): void {
  if (command.phase === Phase.DONE) return;
  command.phase = Phase.DONE;
  command.status = Status.GOOD;
}
