import { invariant } from '#base/mod.ts';
import { GATHER_BYTES_MAX, Phase } from '#scsi/mod.ts';
import type { ScsiCommand } from '#scsi/mod.ts';
import { writeR2t } from './answers.ts';
import { lendForWritingFrom } from '#block/mod.ts';
import { operationEnded } from './lane.ts';
import type { Lane } from './lane.ts';
import { CHUNK_BYTES, GATHER_TOTAL_BYTES_MAX } from './limits.ts';
import { RESERVED_TAG } from './pdu/mod.ts';
import { TaskState } from './task.ts';
import type { Task } from './task.ts';
import type { PieceEnd } from './write-batch.ts';
import { TransportFault, endTask, failTransport } from './transport-sense.ts';
import { WriteRoom } from './write-room.ts';

const BUSY = 0x08;

/**
 * Write data of one session, on its way in. DataPDUInOrder and DataSequenceInOrder are always
 * negotiated to Yes, so the data of a task arrives as one stream from offset 0:
 *
 *   immediate data │ unsolicited Data-Out … F │ R2T 0: Data-Out … F │ R2T 1: …
 *   └──────── up to FirstBurstLength ───────┘ └─ MaxBurstLength each, some R2Ts ahead ─┘
 *
 * Whole blocks go to the device straight from the receive buffer; a block that is cut by the end of
 * what has arrived waits in `task.partial`. Data that nobody wants (the command failed, or is
 * shorter than the initiator thought) is counted and dropped, and the task is answered only after
 * what was announced has arrived: the initiator never gets an answer while it is still sending.
 */
export class DataOut {
  readonly #lane: Lane;
  readonly #room: WriteRoom;
  #gathering = 0;
  readonly #finished: (command: ScsiCommand) => void;
  readonly #pieceEnded: PieceEnd;

  constructor(lane: Lane) {
    this.#lane = lane;
    this.#room = new WriteRoom(lane.chunks);
    this.#finished = (command) => {
      this.#onFinished(command as Task);
    };
    this.#pieceEnded = (task, at, length, to, stored) => {
      if (!stored && !task.discard) this.#writeNow(task, this.#lane.writes!.bytes, at, length, to);
      if (!operationEnded(task)) this.#advance(task);
    };
  }

  /** More has come than memory is set aside for: receive no more now. */
  get congested(): boolean {
    return this.#room.full;
  }

  /** Tasks wait for leave to ask for data. */
  get starving(): boolean {
    return this.#room.waited;
  }

  /** After `begin`: prepares for the data; `more`: unsolicited Data-Out PDUs follow. */
  expect(task: Task, more: boolean): void {
    task.state = TaskState.RECEIVING;
    task.unsolicited = more;
    const wanted = Math.min(task.commandBytes, task.expectedOutBytes);
    if (task.phase === Phase.WRITE) {
      invariant(task.device !== null, 'a write has a device');
      task.wantedBytes = wanted - (wanted % task.device.blockBytes);
      task.transferBytes = task.wantedBytes;
    } else if (task.phase === Phase.GATHER) {
      this.#expectGather(task, Math.min(wanted, GATHER_BYTES_MAX));
    } else {
      task.discard = true;
    }
  }

  /**
   * What was negotiated about unsolicited data (RFC 7143 §13.10, 13.11, 13.14), when the command
   * has come: `immediateBytes` are with it. Of one that needs no data none is wrong.
   */
  checkUnsolicited(task: Task, immediateBytes: number): void {
    if (task.state !== TaskState.RECEIVING && task.state !== TaskState.HELD) return;
    const n = this.#lane.session.negotiated;
    const early = immediateBytes > 0 && !n.immediateData;
    const excess = immediateBytes > Math.min(n.firstBurstBytes, task.expectedOutBytes);
    if (early || excess || (task.unsolicited && n.initialR2t)) {
      this.refuse(task, TransportFault.UNEXPECTED_UNSOLICITED_DATA);
    }
  }

  #expectGather(task: Task, wanted: number): void {
    if (this.#gathering + wanted > GATHER_TOTAL_BYTES_MAX) {
      endTask(task, BUSY);
      task.discard = true;
      return;
    }
    this.#gathering += wanted;
    task.wantedBytes = wanted;
    task.transferBytes = wanted;
    task.dataOut = new Uint8Array(wanted);
  }

  /** The task asks for no more data, and what it asked for is not waited for. */
  forget(task: Task): void {
    if (task.askedBytes > 0 || task.thirsty) this.#room.forget(task);
  }

  /** The task is over: its memory is free. */
  released(task: Task): void {
    this.forget(task);
    if (task.dataOut !== null) this.#gathering -= task.dataOut.length;
  }

  /**
   * The header of a Data-Out. False: its data is to be dropped (the task fails where it must).
   * RFC 7143 §11.7: offsets and DataSN are checked against the stream.
   */
  header(
    task: Task,
    tag: number,
    dataSn: number,
    offsetBytes: number,
    lengthBytes: number,
    final: boolean,
  ): boolean {
    const expected = tag === RESERVED_TAG || tag === transferTag(task, task.r2tsDone);
    if (!expected || dataSn !== task.outSn || offsetBytes !== task.arrivedBytes) {
      this.#violation(task, TransportFault.DATA_PHASE_ERROR, final, lengthBytes);
      return false;
    }
    task.outSn = (task.outSn + 1) >>> 0;
    const end = offsetBytes + lengthBytes;
    const asked = tag !== RESERVED_TAG;
    const fault = asked ? solicited(task, end, final) : this.#unsolicited(task, end);
    if (fault === null) return true;
    this.#violation(task, fault, final && (asked || task.unsolicited), lengthBytes);
    return false;
  }

  #unsolicited(task: Task, end: number): TransportFault | null {
    const allowed = Math.min(this.#lane.session.negotiated.firstBurstBytes, task.expectedOutBytes);
    return end > allowed || !task.unsolicited ? TransportFault.UNEXPECTED_UNSOLICITED_DATA : null;
  }

  /** Fails the task; what was announced for it still arrives and is dropped. */
  #violation(task: Task, fault: TransportFault, final: boolean, lengthBytes: number): void {
    this.refuse(task, fault);
    this.skip(task, lengthBytes);
    if (final) this.sequenceEnded(task);
  }

  /** Fails the task for a fault of the transport, once. */
  refuse(task: Task, fault: TransportFault): void {
    if (task.discard) return;
    failTransport(this.#lane.scsi, task, fault);
    task.discard = true;
  }

  /** Counts data that has come. */
  skip(task: Task, lengthBytes: number): void {
    if (task.askedBytes > 0) this.#room.arrived(task, lengthBytes);
    task.arrivedBytes += lengthBytes;
  }

  /** Data of the task, the next in its stream. */
  data(task: Task, bytes: Uint8Array, at: number, lengthBytes: number): void {
    const position = task.arrivedBytes;
    this.skip(task, lengthBytes);
    if (task.discard) return;
    const wanted = Math.min(lengthBytes, task.wantedBytes - position);
    if (wanted <= 0) return;
    if (task.phase === Phase.GATHER) {
      task.dataOut!.set(bytes.subarray(at, at + wanted), position);
    } else {
      this.#store(task, bytes, at, wanted, position);
    }
  }

  #store(task: Task, bytes: Uint8Array, at: number, length: number, position: number): void {
    const blockBytes = task.device!.blockBytes;
    let done = 0;
    if (task.partialBytes > 0) {
      done = this.#fillPartial(task, bytes, at, length, blockBytes);
      if (task.partialBytes === blockBytes) {
        task.partialBytes = 0;
        this.#write(task, task.partial!, 0, blockBytes, position + done - blockBytes);
      }
    }
    const rest = length - done;
    const whole = rest - (rest % blockBytes);
    if (whole > 0) this.#write(task, bytes, at + done, whole, position + done);
    if (rest > whole) this.#fillPartial(task, bytes, at + done + whole, rest - whole, blockBytes);
  }

  #fillPartial(
    task: Task,
    bytes: Uint8Array,
    at: number,
    length: number,
    blockBytes: number,
  ): number {
    if (task.partial === null || task.partial.length < blockBytes) {
      task.partial = new Uint8Array(blockBytes);
    }
    const take = Math.min(length, blockBytes - task.partialBytes);
    task.partial.set(bytes.subarray(at, at + take), task.partialBytes);
    task.partialBytes += take;
    return take;
  }

  #write(task: Task, bytes: Uint8Array, at: number, length: number, position: number): void {
    if (task.discard) return;
    const to = task.extentOffsetBytes + position;
    this.#lane.output.settleLent(to, length);
    // What settles meanwhile must not finish this task: this data counts as arrived already.
    task.operations += 1;
    if (!this.#batched(task, bytes, at, length, to)) {
      this.settle();
      this.#writeNow(task, bytes, at, length, to);
    }
    task.operations -= 1;
  }

  /** True: the data will be stored by `settle`, straight from the receive buffer. */
  #batched(task: Task, bytes: Uint8Array, at: number, length: number, to: number): boolean {
    const { writes } = this.#lane;
    if (writes === null || !writes.takes(bytes)) return false;
    const address = lendForWritingFrom(task.device!, to, length);
    if (address === 0) return false;
    const { early } = this.#lane.pace;
    if (writes.count < early && writes.add(task, at, length, to, address)) return true;
    this.settle();
    return writes.add(task, at, length, to, address);
  }

  /** Stores the writes that wait in the receive buffer; must come before anything can see them. */
  settle(): void {
    this.#lane.writes?.settle(this.#pieceEnded);
  }

  #writeNow(task: Task, bytes: Uint8Array, at: number, length: number, to: number): void {
    try {
      if (!task.device!.tryWrite(to, bytes, at, length))
        this.#writeCold(task, bytes, at, length, to);
    } catch (e) {
      this.#lane.scsi.fail(task, e);
      task.discard = true;
    }
  }

  /** The device cannot take it at once: copies keep the data until it answers. */
  #writeCold(task: Task, bytes: Uint8Array, at: number, length: number, to: number): void {
    const { chunks } = this.#lane;
    const pieceBytes = CHUNK_BYTES - (CHUNK_BYTES % task.device!.blockBytes);
    for (let done = 0; done < length; done += pieceBytes) {
      const size = Math.min(pieceBytes, length - done);
      const chunk = chunks.take(size);
      const held = chunk.bytes.length;
      chunk.bytes.set(bytes.subarray(at + done, at + done + size));
      task.operations += 1;
      this.#room.hold(held);
      task.device!.write(to + done, chunk.bytes, 0, size, (error) => {
        chunks.give(chunk);
        this.#room.hold(-held);
        this.#lane.relieved();
        this.feed();
        if (operationEnded(task)) return;
        if (error !== null && !task.discard) {
          this.#lane.scsi.fail(task, error);
          task.discard = true;
        }
        this.#advance(task);
      });
    }
  }

  /** A PDU with the F bit is complete. */
  sequenceEnded(task: Task): void {
    task.outSn = 0;
    if (task.unsolicited) task.unsolicited = false;
    else if (task.r2tsDone < task.r2tsSent) this.#r2tDone(task);
    this.settleData(task);
    this.feed();
  }

  #r2tDone(task: Task): void {
    task.r2tsDone += 1;
    const burst = this.#lane.session.negotiated.maxBurstBytes;
    task.sequenceEnd = Math.min(task.sequenceEnd + burst, task.wantedBytes);
  }

  /** Asks for more data, or finishes when all has arrived. */
  settleData(task: Task): void {
    if (!task.unsolicited) this.#solicit(task);
    this.#advance(task);
  }

  /** Those that waited for leave to ask for data have it, as far as there is room. */
  feed(): void {
    for (let task = this.#room.next(); task !== undefined; task = this.#room.next()) {
      if (task.state === TaskState.RECEIVING) this.#solicit(task, true);
      this.#lane.wake();
    }
  }

  /** `leave`: for one R2T it need not be asked. */
  #solicit(task: Task, leave = false): void {
    if (task.discard) return;
    const { session, output } = this.#lane;
    const { maxBurstBytes, maxOutstandingR2t } = session.negotiated;
    if (task.r2tsSent === 0) {
      task.solicitedBytes = task.arrivedBytes;
      task.sequenceEnd = Math.min(task.arrivedBytes + maxBurstBytes, task.wantedBytes);
    }
    while (
      task.solicitedBytes < task.wantedBytes &&
      task.r2tsSent - task.r2tsDone < maxOutstandingR2t
    ) {
      if (!leave && !this.#room.mayAsk(task)) return;
      leave = false;
      const length = Math.min(maxBurstBytes, task.wantedBytes - task.solicitedBytes);
      writeR2t(
        session,
        output,
        task,
        transferTag(task, task.r2tsSent),
        task.solicitedBytes,
        length,
      );
      this.#room.asked(task, length);
      task.solicitedBytes += length;
      task.r2tsSent += 1;
    }
  }

  #advance(task: Task): void {
    if (task.state !== TaskState.RECEIVING || task.operations > 0) return;
    if (task.unsolicited || task.r2tsDone < task.r2tsSent) return;
    if (task.discard && task.phase !== Phase.WAIT) {
      this.#lane.answer(task);
    } else if (task.arrivedBytes >= task.wantedBytes) {
      this.finish(task);
    }
  }

  /** Hands the task to the logical unit for the last word. */
  finish(task: Task): void {
    task.state = TaskState.FINISHING;
    task.operations += 1;
    // A write is done by now; other commands may change anything.
    if (task.phase !== Phase.WRITE) {
      this.settle();
      this.#lane.output.settleAllLent();
    }
    this.#lane.session.traffic.writtenBytes += task.wantedBytes;
    this.#lane.scsi.finish(task, this.#finished);
  }

  #onFinished(task: Task): void {
    if (operationEnded(task)) return;
    if (task.dataIn !== null) {
      task.commandBytes = task.dataIn.length;
      task.sendBytes = Math.min(task.commandBytes, task.expectedInBytes);
    }
    this.#lane.answer(task);
  }
}

/** The tag of a task's R2T: slot and R2TSN, so that the task is found without a search. */
export function transferTag(task: Task, r2tSn: number): number {
  return ((task.slot << 16) | (r2tSn & 0xffff)) >>> 0;
}

/** A solicited PDU must stay within its R2T and have the F bit exactly at the end of it. */
function solicited(task: Task, end: number, final: boolean): TransportFault | null {
  if (end > task.sequenceEnd || final !== (end === task.sequenceEnd)) {
    return TransportFault.INCORRECT_AMOUNT_OF_DATA;
  }
  return null;
}
