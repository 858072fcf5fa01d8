import { invariant } from '#base/mod.ts';
import { BlockError, RangeLockDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { Attentions } from './attention.ts';
import { scsiErrorOf } from './block-sense.ts';
import { u16, u32, u64, u8 } from './bytes.ts';
import { GATHER_BYTES_MAX, Phase, type Nexus, type ScsiCommand } from './command.ts';
import { commandsOf } from './commands.ts';
import { flushDevice } from './device-io.ts';
import { Finisher } from './finisher.ts';
import { GateDevice, GateRefusal } from './gate-device.ts';
import { HeldDevice } from './held-device.ts';
import { HELD_OPERATIONS_MAX } from './limits.ts';
import { Medium } from './medium.ts';
import { ModePages } from './mode-pages.ts';
import { swapDevice } from './online-change.ts';
import type { MakeDevice } from './online-change.ts';
import { PieceMemory } from './piece-memory.ts';
import type { UnitIdentity, UnitOptions } from './profile.ts';
import { Reservations } from './reservation.ts';
import type { Registration, ReservationEvent } from './reservation.ts';
import { reservationRuleOf } from './reservation-rule.ts';
import { ScsiError, Sense, Status, encodeSense } from './sense.ts';
import type { SenseCode } from './sense.ts';
import { SerialQueue } from './serial-queue.ts';
import { CopyResults } from './spc/copy-results.ts';
import { TRANSFER_BLOCKS_MAX, checkUsage } from './table.ts';
import type { CommandTable } from './table.ts';
import { Task } from './task.ts';
import type { UnitHost } from './task.ts';
import { changeReservations, selectModes } from './unit-changes.ts';
import type { ReservationChange } from './unit-changes.ts';
import { UnitKeeper } from './unit-keeper.ts';

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
  /** What is kept through the end of the process. */
  readonly keeper: UnitKeeper;
  /** Replaced as a whole by `changeReservations`. */
  reservations = new Reservations();
  readonly medium: Medium;
  readonly attentions: Attentions;
  readonly commands: CommandTable;
  readonly copyResults = new CopyResults();
  readonly pieces = new PieceMemory();
  /** Everything that reaches the device goes through here. */
  readonly gate: GateDevice;
  /** Where reads go: the gate. */
  readonly reader: BlockDevice;
  /** Where writes go: the device behind the range locks of COMPARE AND WRITE. */
  readonly writer: RangeLockDevice;
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  /** Fixed with the table of commands: a device that takes another's place changes nothing here. */
  readonly thin: boolean;
  readonly encrypted: boolean;
  readonly #changes = new SerialQueue();
  readonly #finisher: Finisher;
  #blocks: number;
  #fastReads = true;
  #fastWrites = true;
  #flushesWrites = false;

  constructor(options: UnitOptions) {
    this.options = options;
    this.identity = options.identity;
    this.kind = options.kind ?? 'disk';
    this.removable = this.kind === 'cdrom' || options.removable === true;
    this.gate = new GateDevice(options.device, () => {
      this.update();
    });
    this.#finisher = new Finisher(this.gate, (command, e) => {
      this.fail(command, e);
    });
    this.reader = this.gate;
    this.writer = new RangeLockDevice(this.gate);
    this.blockBytes = options.device.blockBytes;
    this.physicalBlockBytes = options.physicalBlockBytes ?? this.blockBytes;
    invariant(Number.isInteger(Math.log2(this.physicalBlockBytes / this.blockBytes)), '2^n blocks');
    this.#blocks = options.device.sizeBytes / this.blockBytes;
    invariant(Number.isInteger(this.#blocks) && this.#blocks > 0, 'whole blocks');
    // UNMAP gives space back; of a read-only disk it would, were it not refused.
    this.thin = this.kind === 'disk' && (options.device.canDiscard || options.device.readOnly);
    this.encrypted = this.kind === 'disk' && options.device.cryptoErase !== undefined;
    this.keeper = new UnitKeeper(options.state);
    const saved = this.keeper.possible ? this.keeper.kept.modePages : null;
    this.modes = new ModePages(this.kind, options.cache !== 'writethrough', saved);
    this.medium = new Medium(this.kind === 'cdrom');
    this.attentions = new Attentions(() => {
      this.update();
    });
    this.commands = commandsOf(this);
    const kept = this.keeper.kept.reservations;
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

  /** A change of reservations or mode pages is on its way to stable media. */
  get changing(): boolean {
    return this.#changes.busy;
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
    const ready = this.medium.ready && !this.gate.shut;
    const healthy = ready && !this.attentions.any && this.reservations.idle;
    this.#fastReads = healthy;
    const protectedNow = this.readOnly || this.modes.softwareWriteProtect;
    this.#fastWrites = healthy && !protectedNow && !this.writeThrough;
    this.#flushesWrites = this.writeThrough;
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
      if (this.reservations.conflicts(nexus, reservationRuleOf(row, command.cdb))) {
        throw ScsiError.status(Status.RESERVATION_CONFLICT);
      }
      if (row.needs === 'medium') this.checkReady();
      if (row.writes) this.checkWritable();
      const task = new Task(this, command, row, nexus, host);
      task.locate();
      command.context = task;
      row.body.begin(task);
      if (this.gate.shut && row.needs === 'medium') this.#hold(command);
    } catch (e) {
      this.fail(command, e);
    }
  }

  /** Runs what is left after the data; `done` once, with phase DONE. */
  finish(command: ScsiCommand, done: (command: ScsiCommand) => void): void {
    if (command.context instanceof Task) {
      this.#finisher.finish(command.context, done);
    } else if (this.#flushesWrites && command.phase === Phase.WRITE) {
      // It began while WCE was set, and ends when it no longer is (durability contract 3).
      this.#finisher.settle(command, this.flush(), done);
    } else {
      command.phase = Phase.DONE;
      command.status = Status.GOOD;
      done(command);
    }
  }

  /** The transport gave up a command; what waits for the device is cancelled. */
  abandon(command: ScsiCommand): void {
    if (command.context instanceof Task) {
      command.context.cancelled = true;
      command.context.abandoned?.();
    }
    this.gate.cancel(command);
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

  /**
   * All acknowledged writes to stable media; a failure is the end of this unit (contract 4). Within
   * a fence it needs the fence's device.
   */
  async flush(device: BlockDevice = this.writer): Promise<void> {
    try {
      await flushDevice(device);
    } catch (e) {
      if (e instanceof GateRefusal) throw e;
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
    const cached = this.modes.writeCache;
    this.modes.reset();
    this.attentions.reset(Sense.BUS_DEVICE_RESET);
    this.update();
    // Whoever now reads WCE = 0 will never flush; a failure shows in the state of the medium.
    if (cached && this.writeThrough) this.flush().catch(() => undefined);
  }

  /**
   * Takes the device's size over and tells everybody, if it is another than before: call it after
   * the device has grown.
   */
  capacityChanged(): void {
    const blocks = Math.floor(this.reader.sizeBytes / this.blockBytes);
    if (blocks === this.#blocks) return;
    this.#blocks = blocks;
    this.attentions.establishForAll(Sense.CAPACITY_DATA_CHANGED);
  }

  /** Looks how large the device is by now; answered when initiators are told. */
  rescan(done: (error: BlockError | null) => void): void {
    this.reader.rescan((error) => {
      if (error === null) this.capacityChanged();
      done(error);
    });
  }

  /**
   * Puts another device in the place of this one while initiators go on: commands for the medium
   * wait, the device becomes quiet and is flushed, `make` gets it and returns the one that takes
   * over. Should that fail, all goes on with the old one. Whoever calls closes what is not used any
   * more.
   */
  swapDevice(make: MakeDevice, done: (error: Error | null) => void): void {
    swapDevice(this, make, done);
  }

  /** PERSISTENT RESERVE OUT; see `changeReservations`. */
  changeReservations(act: ReservationChange): Promise<readonly ReservationEvent[]> {
    return this.#changes.run(() => changeReservations(this, act));
  }

  /** MODE SELECT; see `selectModes`. */
  selectModes(nexus: Nexus, list: Uint8Array, from: number, save: boolean): Promise<void> {
    return this.#changes.run(() => selectModes(this, nexus, { list, from, save }));
  }

  /** Resolves when nothing that these nexuses had under way can reach the device any more. */
  async settled(nexuses: ReadonlySet<Nexus>): Promise<void> {
    await this.#finisher.settled(nexuses);
    await new Promise<void>((resolve) => {
      this.writer.settled(() => this.gate.settled(resolve));
    });
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

  #reportAttention(command: ScsiCommand, nexus: Nexus): void {
    if (!this.attentions.any) return;
    const opcode = u8(command.cdb, 0);
    if (opcode === INQUIRY || opcode === REPORT_LUNS || opcode === REQUEST_SENSE) return;
    const code = this.attentions.take(nexus);
    if (code !== undefined) throw ScsiError.check(code);
  }

  /** The gate is shut: operations wait under the command's name, as many as there is room for. */
  #hold(command: ScsiCommand): void {
    if (command.phase === Phase.DONE) return;
    if (this.gate.waiting >= HELD_OPERATIONS_MAX) throw ScsiError.status(Status.TASK_SET_FULL);
    if (command.device !== null && command.phase !== Phase.GATHER && command.phase !== Phase.WAIT) {
      command.device = new HeldDevice(command.device, this.gate, command);
    }
  }

  /** Ends a command with the status and sense of what was thrown, or of a device's error. */
  fail(command: ScsiCommand, thrown: unknown): void {
    // Refused at the gate: what stands in the way (SANITIZE) says it better.
    const refused = thrown instanceof BlockError && thrown.kind === 'gone';
    const e = refused ? (this.medium.obstacle ?? thrown) : thrown;
    const { context, phase } = command;
    // VERIFY takes data from the initiator, and reads.
    const writes = context instanceof Task ? context.row.writes : phase === Phase.WRITE;
    if (e instanceof BlockError && e.kind === 'failed') {
      this.medium.failed = true;
      this.update();
    }
    const error = scsiErrorOf(e, writes ? 'write' : 'read', this.blockBytes);
    command.phase = Phase.DONE;
    command.status = error.status;
    command.sense = this.encodeSense(error);
    command.dataIn = null;
    command.transferBytes = 0;
  }
}
