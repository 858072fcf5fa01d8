import { Phase, type ScsiTarget } from '#scsi/mod.ts';
import { sequenceOf, writePdu, writeScsiResponse } from './answers.ts';
import { fillAdditional, fillTask, refusalOf } from './command-header.ts';
import type { ChunkPool, Turnable } from './data-plane.ts';
import { DataIn } from './data-in.ts';
import { DataOut } from './data-out.ts';
import { HeldData } from './held-data.ts';
import { afterAll, type FeatureOwner, type Lane } from './lane.ts';
import type { Output } from './output.ts';
import { AT_BUFFER_OFFSET, AT_CMD_SN, AT_DATA_SN, AT_EXP_STAT_SN, AT_ITT } from './pdu/mod.ts';
import { AT_TTT, BHS_BYTES, CommandFlag, FINAL_BIT, Opcode, RESERVED_TAG } from './pdu/mod.ts';
import { RejectReason, ServiceResponse, copyBytes, encodeReject } from './pdu/mod.ts';
import { Pace } from './pace.ts';
import type { PduSink, ReceiveFault } from './receiver.ts';
import type { Session } from './session.ts';
import { TaskState, type Task } from './task.ts';
import { TaskQueue } from './task-queue.ts';
import type { WriteBatch } from './write-batch.ts';
import { TransportFault, endTask, refuseMisdirected } from './transport-sense.ts';

const TASK_SET_FULL = 0x28;
/** Upper half of the first header word of an immediate PDU. */
const IMMEDIATE_WORD = 0x40000000;

/** What the PDU being received is. */
type Current = 'drop' | 'command' | 'data-out' | 'other';

/**
 * Full feature phase of one connection: commands in, tasks through their states, answers out. The
 * way of a cached READ, all in one call from the socket: `header` → `#command` → `#start` →
 * `scsi.begin` → `DataIn.progress` → `device.tryRead` into the output; then `turn` sends.
 */
export class FullFeature implements PduSink, Lane, Turnable {
  readonly session: Session;
  readonly scsi: ScsiTarget;
  readonly output: Output;
  readonly chunks: ChunkPool;
  readonly writes: WriteBatch | null;
  readonly pace = new Pace();
  readonly #owner: FeatureOwner;
  readonly #dataIn: DataIn;
  readonly #dataOut: DataOut;
  readonly #ready = new TaskQueue();
  readonly #held = new HeldData();
  #current: Current = 'drop';
  #task: Task | null = null;
  #final = false;
  readonly #header = new Uint8Array(BHS_BYTES);
  /** Between the bytes of one receive call and its flush. */
  #inTurn = false;
  /** An answer is being written: others queue. */
  #answering = false;
  #scheduled = false;
  #closed = false;

  constructor(session: Session, scsi: ScsiTarget, output: Output, owner: FeatureOwner) {
    this.session = session;
    this.scsi = scsi;
    this.output = output;
    this.chunks = owner.plane.chunks;
    this.#owner = owner;
    this.writes = owner.plane.writes;
    this.#dataIn = new DataIn(this);
    this.#dataOut = new DataOut(this);
  }

  /** More is under way than memory is set aside for: receive no more now. */
  get congested(): boolean {
    return this.output.full || this.#dataOut.congested;
  }

  // Turns: one receive call or one scheduled call each, ending in at most one send.

  /** Bytes are about to be received; `alone`: the thread hears hardly anybody else. */
  open(alone: boolean): void {
    this.#inTurn = true;
    this.pace.begin(alone);
  }

  /** Answers what is ready, as far as the output has room, and sends. */
  turn(): void {
    if (!this.#inTurn) this.pace.begin(false);
    this.#inTurn = true;
    this.#dataOut.settle();
    this.#scheduled = false;
    while (!this.output.full && !this.#closed) {
      const task = this.#ready.shift();
      if (task === undefined || !this.#progress(task)) break;
    }
    this.output.flush();
    this.#inTurn = false;
    if (!this.#closed) this.#owner.balance();
  }

  /** Asks for a turn. */
  wake(): void {
    if (this.#inTurn || this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#owner.plane.soon(this);
  }

  // PduSink: what arrives.

  header(view: DataView, bytes: Uint8Array, at: number, ahsBytes: number, dataBytes: number): void {
    const word = view.getUint32(at);
    const opcode = (word >>> 24) & 0x3f;
    this.#task = null;
    this.#current = 'drop';
    if (this.session.dataDigest) this.#header.set(bytes.subarray(at, at + BHS_BYTES));
    if (opcode === Opcode.SCSI_COMMAND) {
      this.#command(view, bytes, at, word, ahsBytes, dataBytes);
    } else if (opcode === Opcode.DATA_OUT) {
      this.#dataOutHeader(view, at, (word & (FINAL_BIT << 16)) !== 0, dataBytes);
    } else {
      this.#current = 'other';
      // It may abort tasks, or end the session.
      this.#dataOut.settle();
      this.#owner.other.header(view, bytes, at, ahsBytes, dataBytes);
    }
  }

  data(bytes: Uint8Array, at: number, lengthBytes: number): void {
    if (this.#current === 'other') {
      this.#owner.other.data(bytes, at, lengthBytes);
      return;
    }
    const task = this.#task;
    if (task === null) return;
    if (task.state === TaskState.RECEIVING) this.#dataOut.data(task, bytes, at, lengthBytes);
    else if (task.state === TaskState.HELD) this.#held.add(task, bytes, at, lengthBytes);
  }

  end(): void {
    if (this.#current === 'other') {
      this.#owner.other.end();
      return;
    }
    const task = this.#task;
    this.#task = null;
    if (task === null) return;
    if (task.state === TaskState.HELD) {
      if (!this.#final) return;
      task.unsolicited = false;
      task.outSn = 0;
    } else if (task.state === TaskState.RECEIVING) {
      if (this.#current === 'command') this.#dataOut.settleData(task);
      else if (this.#final) this.#dataOut.sequenceEnded(task);
    }
  }

  fault(fault: ReceiveFault): void {
    if (fault !== 'data-digest') {
      this.#owner.other.fault(fault);
      return;
    }
    // RFC 7143 §7.8: Reject, and without recovery (level 0) the command itself fails.
    this.reject(RejectReason.DATA_DIGEST_ERROR, this.#header);
    this.#owner.other.fault(fault);
    const task = this.#task;
    if (task === null) return;
    if (task.state !== TaskState.RECEIVING && task.state !== TaskState.HELD) return;
    this.#dataOut.refuse(task, TransportFault.PROTOCOL_SERVICE_CRC_ERROR);
    this.end();
  }

  // Commands.

  #command(
    view: DataView,
    bytes: Uint8Array,
    at: number,
    word: number,
    ahsBytes: number,
    dataBytes: number,
  ): void {
    const immediate = (word & IMMEDIATE_WORD) !== 0;
    const cmdSn = view.getUint32(at + AT_CMD_SN);
    if (!this.acceptCommand(cmdSn, immediate)) return;
    const tag = view.getUint32(at + AT_ITT);
    const { session } = this;
    const refusal = refusalOf(session, tag, immediate);
    if (refusal !== null) return this.reject(refusal, bytes.subarray(at, at + BHS_BYTES));
    const flags = word >>> 16;
    const task = session.tasks.take(tag);
    fillTask(task, view, bytes, at, flags);
    task.immediate = immediate;
    task.cmdSn = cmdSn;
    session.entered(task);
    const unseen = (session.statSn - view.getUint32(at + AT_EXP_STAT_SN)) >>> 0;
    this.pace.heard(session.inFlight, unseen);
    if (ahsBytes > 0 && !fillAdditional(task, bytes, at, ahsBytes)) {
      this.settle(task);
      session.tasks.release(task);
      this.reject(RejectReason.INVALID_PDU_FIELD, bytes.subarray(at, at + BHS_BYTES));
      return;
    }
    this.#current = 'command';
    this.#final = (flags & FINAL_BIT) !== 0 || (flags & CommandFlag.WRITE) === 0;
    this.#task = task;
    if (session.taskSet.admit(task)) {
      this.#start(task, dataBytes, !this.#final);
    } else {
      task.state = TaskState.HELD;
      task.unsolicited = !this.#final;
    }
    this.#dataOut.checkUnsolicited(task, dataBytes);
  }

  /** Takes a CmdSN; false when the PDU is to be ignored. */
  acceptCommand(cmdSn: number, immediate: boolean): boolean {
    if (immediate) return true;
    const verdict = this.session.acceptCmdSn(cmdSn);
    if (verdict === 'outside') this.#owner.count('commands-outside-window');
    if (verdict === 'gap') this.#owner.protocolError('a command is missing before this one');
    return verdict === 'next';
  }

  /** `dataBytes` of immediate data are next; `more`: unsolicited Data-Out PDUs follow. */
  #start(task: Task, dataBytes: number, more: boolean): void {
    if (task.expectedInBytes > 0 && task.expectedOutBytes > 0) {
      this.#refuseBidirectional(task);
      return;
    }
    const { traffic } = this.session;
    this.scsi.begin(task);
    // Whatever is no plain write may look at what was written before it.
    if (task.phase !== Phase.WRITE) this.#dataOut.settle();
    refuseMisdirected(this.scsi, task);
    task.commandBytes = task.phase === Phase.DONE ? (task.dataIn?.length ?? 0) : task.transferBytes;
    if (task.phase === Phase.READ) {
      if (traffic.readCommands++ === 0) this.#owner.firstRead();
    } else if (task.phase === Phase.WRITE) {
      if (traffic.writeCommands++ === 0) this.#owner.firstWrite();
    } else {
      traffic.otherCommands += 1;
    }
    task.sendBytes = Math.min(task.commandBytes, task.expectedInBytes);
    if (task.phase === Phase.WRITE || task.phase === Phase.GATHER || more || dataBytes > 0) {
      this.#dataOut.expect(task, more);
    } else if (task.phase === Phase.WAIT) {
      this.#dataOut.finish(task);
    } else {
      this.answer(task);
    }
  }

  #refuseBidirectional(task: Task): void {
    endTask(task, 0);
    this.settle(task);
    writeScsiResponse(this.session, this.output, task, ServiceResponse.TARGET_FAILURE);
    if (this.#task === task) this.#task = null;
    this.release(task);
  }

  #dataOutHeader(view: DataView, at: number, final: boolean, dataBytes: number): void {
    const tag = view.getUint32(at + AT_ITT);
    const transfer = view.getUint32(at + AT_TTT);
    const { tasks } = this.session;
    const task = transfer === RESERVED_TAG ? tasks.find(tag) : tasks.at(transfer >>> 16);
    const waits = task?.state === TaskState.RECEIVING || task?.state === TaskState.HELD;
    // Data of a task that was aborted meanwhile is still on its way, and nobody's fault.
    if (task === undefined || task.tag !== tag || !waits) {
      this.#owner.count('data-out-dropped');
      return;
    }
    const dataSn = view.getUint32(at + AT_DATA_SN);
    const offset = view.getUint32(at + AT_BUFFER_OFFSET);
    if (!this.#dataOut.header(task, transfer, dataSn, offset, dataBytes, final)) return;
    this.#current = 'data-out';
    this.#final = final;
    this.#task = task;
  }

  /** A held task may start: what arrived for it is fed to it as if it came now. */
  #startHeld(task: Task): void {
    const more = task.unsolicited;
    const length = task.arrivedBytes;
    const pieces = this.#held.take(task);
    if (pieces === null) {
      this.#endHeld(task);
      return;
    }
    this.#start(task, length, more);
    if (task.state !== TaskState.RECEIVING) return;
    for (const piece of pieces) this.#dataOut.data(task, piece, 0, piece.length);
    // In the middle of its own PDU, `end` is still to come.
    if (this.#task !== task) this.#dataOut.settleData(task);
  }

  /** A held task whose data was bad, or too much: never begun, answered in its turn. */
  #endHeld(task: Task): void {
    if (task.status === 0) endTask(task, TASK_SET_FULL);
    task.state = TaskState.RECEIVING;
    if (this.#task !== task) this.#dataOut.settleData(task);
  }

  // Lane: what data-in and data-out ask for.

  answer(task: Task): void {
    task.state = TaskState.ANSWERING;
    if (!this.#inTurn || this.#answering || this.#ready.length > 0 || this.output.full) {
      this.#ready.push(task);
      this.wake();
      return;
    }
    this.#progress(task);
  }

  /** False: the output has no room for more of it now; it stays first in line. */
  #progress(task: Task): boolean {
    this.#answering = true;
    const done = this.#dataIn.progress(task);
    if (!done) this.#ready.unshift(task);
    this.#answering = false;
    if (this.pace.answered()) this.output.flush();
    return done;
  }

  settle(task: Task): void {
    this.session.left(task);
  }

  release(task: Task): void {
    this.#dataOut.released(task);
    this.session.taskSet.ended(task);
    this.session.tasks.release(task);
    this.#startWaiting();
  }

  #startWaiting(): void {
    const { taskSet } = this.session;
    if (this.#closed) return;
    if (this.#dataOut.starving) this.#dataOut.feed();
    for (let next = taskSet.next(); next !== undefined; next = taskSet.next()) {
      this.#startHeld(next);
      this.wake();
    }
  }

  relieved(): void {
    if (!this.#inTurn) this.#owner.balance();
  }

  /** Sends a Reject with the header of the PDU that it is about. */
  reject(reason: number, header: Uint8Array): void {
    this.#owner.count('rejects');
    const data = copyBytes(header, 0, BHS_BYTES);
    const sequence = sequenceOf(this.session, true);
    writePdu(this.session, this.output, encodeReject({ reason, dataSn: 0, data, ...sequence }));
  }

  // Ends.

  /** Never answered; `quiet` when no operation of it can reach the device (hostile case 27). */
  #abort(task: Task, quiet: () => void): void {
    if (task.quiesced !== null) {
      task.quiesced.push(quiet);
      return;
    }
    this.#owner.count('tasks-aborted');
    if (this.#task === task) this.#task = null;
    if (task.state === TaskState.HELD) {
      this.session.taskSet.drop(task);
      this.#held.take(task);
      this.settle(task);
      this.session.tasks.release(task);
      quiet();
      return;
    }
    this.#ready.remove(task);
    this.#dataIn.forget(task);
    task.state = TaskState.ABORTED;
    // Its room in the window is free when it is quiet: so no initiator has more than fit in there.
    task.quiesced = [this.settle.bind(this, task), this.release.bind(this, task), quiet];
    if (task.operations === 0) for (const each of task.quiesced) each();
    else this.scsi.abandon?.(task);
  }

  /** Aborts all that match, newest first: none that is held gets to start. False: there is none. */
  abortAll(match: (task: Task) => boolean, quiet: () => void): boolean {
    const held = (t: Task): number => (t.state === TaskState.HELD ? 0 : 1);
    const tasks = this.session.tasks.list().filter(match);
    tasks.sort((a, b) => held(a) - held(b));
    // None of them asks for data because another one ends.
    for (const task of tasks) this.#dataOut.forget(task);
    afterAll(tasks, this.#abort.bind(this), quiet);
    // Of these some were held, and others wait for nothing else.
    this.#startWaiting();
    return tasks.length > 0;
  }

  /** Nothing more is received, started or sent; calls `quiet` when all operations are answered. */
  close(quiet: () => void): void {
    this.#closed = true;
    this.#dataOut.settle();
    this.abortAll(() => true, quiet);
  }
}
