import { lendFrom } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { invariant } from '#base/mod.ts';
import { Phase } from '#scsi/mod.ts';
import { residualFlag, sealData, sealHeader, writeDataIn, writeScsiResponse } from './answers.ts';
import { ColdRun } from './cold-run.ts';
import { chunkSize } from './data-plane.ts';
import { operationEnded } from './lane.ts';
import type { Lane } from './lane.ts';
import { CHUNK_BYTES, COLD_READ_BYTES_MAX, COLD_RUNS_PER_TASK_MAX } from './limits.ts';
import { SEND_SEGMENT_BYTES_MAX } from './limits.ts';
import { DataInFlag, FINAL_BIT, ServiceResponse } from './pdu/mod.ts';
import type { Task } from './task.ts';
import { TaskQueue } from './task-queue.ts';

/** Segments in one cold run: their headers and digests fit the 4 KiB that a chunk has to spare. */
const RUN_SEGMENTS_MAX = 64;
/** What a waiting cold read takes at least, in practice. */
const SMALL_READ_BYTES = 8192;
/** Data segments end at a multiple of this (RFC 7143 §11.1). */
const PAD_UNIT_BYTES = 4;

/**
 * Answers of one session: Data-In, status, sense.
 *
 * A read that is resident goes device → output buffer, one `tryRead` per PDU, behind the place of
 * its header. The first segment that is not makes the task cold: from there on ranges are read by
 * the device's asynchronous call into chunks of their own (cold-run.ts), several at a time, and
 * sent in order. Other tasks go on meanwhile.
 */
export class DataIn {
  readonly #lane: Lane;
  readonly #starved = new TaskQueue();
  /** Size of the chunks that are being filled. */
  #coldBytes = 0;

  constructor(lane: Lane) {
    this.#lane = lane;
  }

  /** Writes what the task has to say. False: the output is full, come again. */
  progress(task: Task): boolean {
    if (task.phase === Phase.READ) {
      return task.cold ? this.#sendRuns(task) : this.#sendResident(task);
    }
    if (task.dataIn !== null && task.status === 0 && task.sendBytes > 0) return this.#copy(task);
    if (task.cold) this.#failed(task);
    else this.#respond(task);
    return true;
  }

  #respond(task: Task): void {
    const { session, output } = this.#lane;
    this.#lane.settle(task);
    writeScsiResponse(session, output, task, ServiceResponse.COMMAND_COMPLETED);
    this.#lane.release(task);
  }

  #sendResident(task: Task): boolean {
    const { session, output } = this.#lane;
    const device = task.device;
    invariant(device !== null, 'a read has a device');
    if (task.sendBytes === 0) {
      this.#respond(task);
      return true;
    }
    const blockBytes = device.blockBytes;
    const whole = aligned(task, session.segmentBytes, blockBytes);
    const lends = whole && !session.dataDigest && output.lends;
    while (task.sentBytes < task.sendBytes) {
      if (output.full) return false;
      if (lends) {
        const lent = this.#tryLend(task, device);
        if (lent === 'wait') return false;
        if (lent === 'lent') continue;
      }
      const length = Math.min(session.segmentBytes, task.sendBytes - task.sentBytes);
      const readBytes = roundUp(length, blockBytes);
      const at = output.reserve(session.overheadBytes + readBytes + 3);
      const dataAt = at + session.headBytes;
      const from = task.extentOffsetBytes + task.sentBytes;
      if (!whole || !this.#tryRead(task, from, dataAt, readBytes)) {
        if (task.phase === Phase.READ) this.#startCold(task);
        return true;
      }
      this.#finishSegment(task, at, length);
    }
    return true;
  }

  /** The next segment straight from the page cache: only its header is written. */
  #tryLend(task: Task, device: BlockDevice): 'lent' | 'wait' | 'no' {
    const { session, output } = this.#lane;
    const length = Math.min(session.segmentBytes, task.sendBytes - task.sentBytes);
    if (length % PAD_UNIT_BYTES !== 0) return 'no';
    const from = task.extentOffsetBytes + task.sentBytes;
    const address = lendFrom(device, from, length);
    if (address === 0) return 'no';
    // What is lent must be sent in this turn. The rest of an answer that is on its way comes first.
    if (!output.mayLend) return 'wait';
    const at = output.reserve(session.headBytes);
    if (!output.mayLend) return 'wait';
    const last = task.sentBytes + length === task.sendBytes;
    this.#header(task, output.bytes, output.view, at, length);
    task.sentBytes += length;
    task.dataSn += 1;
    session.traffic.readBytes += length;
    output.commit(session.headBytes);
    output.lend(from, address, length);
    if (last) this.#lane.release(task);
    return 'lent';
  }

  /** False: not resident, or failed (then the task's phase is DONE and it is answered so). */
  #tryRead(task: Task, from: number, dataAt: number, lengthBytes: number): boolean {
    const { output, scsi } = this.#lane;
    try {
      return task.device!.tryRead(from, output.bytes, dataAt, lengthBytes);
    } catch (e) {
      scsi.fail(task, e);
      this.#failed(task);
      return false;
    }
  }

  /** Finishes a PDU around data that is in place, in the output. */
  #finishSegment(task: Task, at: number, length: number): void {
    const { session, output } = this.#lane;
    const last = task.sentBytes + length === task.sendBytes;
    output.commit(this.#dress(task, output.bytes, output.view, at, length));
    session.traffic.readBytes += length;
    if (last) this.#lane.release(task);
  }

  /**
   * Writes header, padding and digests around data, counts it as sent; returns the PDU's length.
   */
  #dress(task: Task, bytes: Buffer, view: DataView, at: number, length: number): number {
    const { session } = this.#lane;
    this.#header(task, bytes, view, at, length);
    const sealed = sealData(session, bytes, view, at + session.headBytes, length);
    task.sentBytes += length;
    task.dataSn += 1;
    return session.headBytes + length + sealed;
  }

  /** Writes the header of the next segment, with its digest. */
  #header(task: Task, bytes: Buffer, view: DataView, at: number, length: number): void {
    const { session } = this.#lane;
    const last = task.sentBytes + length === task.sendBytes;
    let flags = 0;
    task.burstBytes += length;
    if (last || task.burstBytes >= session.burstBytes) {
      flags = FINAL_BIT;
      task.burstBytes = 0;
    }
    if (last) {
      flags |= DataInFlag.STATUS | residualFlag(task);
      this.#lane.settle(task);
    }
    writeDataIn(session, task, view, at, length, flags, last);
    sealHeader(session, bytes, view, at);
  }

  #copy(task: Task): boolean {
    const { session, output } = this.#lane;
    const source = task.dataIn;
    invariant(source !== null, 'there is data to copy');
    while (task.sentBytes < task.sendBytes) {
      if (output.full) return false;
      const length = Math.min(session.segmentBytes, task.sendBytes - task.sentBytes);
      const at = output.reserve(session.overheadBytes + length + 3);
      const piece = source.subarray(task.sentBytes, task.sentBytes + length);
      output.bytes.set(piece, at + session.headBytes);
      this.#finishSegment(task, at, length);
    }
    return true;
  }

  #failed(task: Task): void {
    task.dataIn = null;
    task.commandBytes = task.sentBytes;
    this.#respond(task);
  }

  /** Reads the next ranges elsewhere, as far as limits allow. */
  #startCold(task: Task): void {
    const { session, chunks } = this.#lane;
    if (!task.cold) {
      task.cold = true;
      task.runsTo = task.sentBytes;
      session.traffic.coldReads += 1;
    }
    const device = task.device;
    invariant(device !== null, 'a read has a device');
    while (task.runsTo < task.sendBytes && task.runs.length < COLD_RUNS_PER_TASK_MAX) {
      const length = Math.min(
        SEND_SEGMENT_BYTES_MAX,
        session.segmentBytes * RUN_SEGMENTS_MAX,
        task.sendBytes - task.runsTo,
      );
      const whole = roundUp(length, device.blockBytes);
      const segments = Math.ceil(length / session.segmentBytes);
      const headroom = segments * session.overheadBytes;
      const need = headroom + whole + 4;
      invariant(need <= CHUNK_BYTES, 'a run fits its chunk');
      if (this.#coldBytes + chunkSize(need) > COLD_READ_BYTES_MAX) {
        if (task.runs.length === 0) this.#starved.push(task);
        return;
      }
      const run = new ColdRun(chunks.take(need), headroom, task.runsTo, length);
      task.runs.push(run);
      task.runsTo += length;
      task.operations += 1;
      this.#coldBytes += run.chunk.bytes.length;
      this.#read(device, task, run, whole);
    }
  }

  #read(device: BlockDevice, task: Task, run: ColdRun, lengthBytes: number): void {
    const from = task.extentOffsetBytes + run.startBytes;
    device.read(from, run.chunk.bytes, run.dataAt, lengthBytes, (error) => {
      this.#coldBytes -= run.chunk.bytes.length;
      run.ready = true;
      run.error = error;
      const aborted = operationEnded(task);
      if (aborted || run.abandoned) this.#lane.chunks.give(run.chunk);
      if (!aborted && run.abandoned && task.operations === 0) this.#lane.answer(task);
      if (!aborted && task.runs[0] === run) this.#lane.answer(task);
      this.#feedStarved(run.chunk.bytes.length);
    });
  }

  /** Wakes as many of the waiting as may find room in what became free. */
  #feedStarved(freeBytes: number): void {
    for (let room = freeBytes; room > 0; room -= SMALL_READ_BYTES) {
      const waiting = this.#starved.shift();
      if (waiting === undefined) return;
      this.#lane.answer(waiting);
    }
  }

  #sendRuns(task: Task): boolean {
    const { output, scsi, chunks } = this.#lane;
    for (;;) {
      const run = task.runs[0];
      if (run === undefined || !run.ready) break;
      if (output.full) return false;
      task.runs.shift();
      if (run.error !== null) {
        chunks.give(run.chunk);
        scsi.fail(task, run.error);
        this.#abandonRuns(task);
        return true;
      }
      output.sendChunk(run.chunk, this.#spread(task, run));
      if (task.sentBytes === task.sendBytes) {
        this.#lane.release(task);
        return true;
      }
    }
    this.#startCold(task);
    return true;
  }

  /** Puts headers between the segments of a run; returns the length of the whole. */
  #spread(task: Task, run: ColdRun): number {
    const { session } = this.#lane;
    const { bytes, view } = run.chunk;
    let at = 0;
    for (let done = 0; done < run.lengthBytes;) {
      const length = Math.min(session.segmentBytes, run.lengthBytes - done);
      const from = run.dataAt + done;
      if (from !== at + session.headBytes) {
        bytes.copyWithin(at + session.headBytes, from, from + length);
      }
      at += this.#dress(task, bytes, view, at, length);
      done += length;
    }
    session.traffic.readBytes += run.lengthBytes;
    return at;
  }

  /** The read failed: the answer waits for runs that are still being read. */
  #abandonRuns(task: Task): void {
    this.forget(task);
    if (task.operations === 0) this.#failed(task);
  }

  /** Lets go of what is held for a task that is not to be answered, or not with data. */
  forget(task: Task): void {
    for (const run of task.runs) {
      if (run.ready) this.#lane.chunks.give(run.chunk);
      else run.abandoned = true;
    }
    task.runs.length = 0;
    if (task.cold) this.#starved.remove(task);
  }
}

function roundUp(length: number, unit: number): number {
  const over = length % unit;
  return over === 0 ? length : length + unit - over;
}

/** Segments that are not whole blocks (a tiny limit on a 4 KiB disk) are cut out of a cold run. */
function aligned(task: Task, segmentBytes: number, blockBytes: number): boolean {
  return segmentBytes % blockBytes === 0 || task.sendBytes <= segmentBytes;
}
