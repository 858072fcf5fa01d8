import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DecodeError, crc32c } from '#base/mod.ts';
import { BlockError } from './device.ts';
import type { BlockDevice, BlockDone } from './device.ts';
import { syncFolder } from './sync-folder.ts';

/**
 * A redo log for one write at a time, which makes a write of many blocks all or nothing through
 * process death and power loss:
 *
 * | step                          | a crash after it: `recoverAtomicWrite` finds   | the disk has |
 * |-------------------------------|------------------------------------------------|--------------|
 * | device flushed                | nothing                                        | all old      |
 * | log written                   | nothing, or a torn log: a checksum is wrong    | all old      |
 * | log synced                    | the log: writes the data again                 | all new      |
 * | data written to the device    | the log: writes the data again                 | all new      |
 * | device flushed                | the log: writes the data again                 | all new      |
 * | log cleared and synced        | nothing                                        | all new      |
 *
 * The caller keeps other writes away from the range from the first step to the last, so writing
 * again cannot undo anything that was acknowledged. The log also has the checksums of what was
 * there before: where the disk has neither the old nor the new data, somebody wrote to it without
 * this log meanwhile, and what he wrote stays. The flush at the start is for that: what the log
 * calls old must not turn into something older by a loss of power.
 */
export interface AtomicLog {
  /** The largest write it takes. */
  readonly bytesMax: number;
  /**
   * Writes all or nothing; resolves when it is on stable media. One after the other. Rejects with
   * `BlockError`: `no-space` when the log could not be written and nothing happened; `failed` when
   * it is for the next opening to finish the write, and the device must not be used until then.
   */
  write(device: BlockDevice, offsetBytes: number, data: Uint8Array): Promise<void>;
}

/**
 * Header: magic, device offset, length, CRC-32C of the rest, CRC-32C of the header before it. Then
 * the CRC-32C of each 512 bytes that were there before, then the data.
 */
const MAGIC = 'POLYATO2';
const HEADER_BYTES = 32;
const HEADER_CRC_AT = 24;
/** What a disk writes whole or not at all, whatever its blocks are. */
const SECTOR_BYTES = 512;
/** 1 MiB, as much as a command may gather. */
const BYTES_MAX = 1024 * 1024;

/** An `AtomicLog` in a file of its own beside the image. */
export class AtomicLogFile implements AtomicLog {
  readonly bytesMax = BYTES_MAX;
  readonly #file: FileHandle;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * Opens or makes the file, and finishes on the device what it holds. Throws what the file system
   * says, `BlockError`, or `DecodeError` when the log is of another disk.
   */
  static async open(path: string, device: BlockDevice): Promise<AtomicLogFile> {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const log = new AtomicLogFile(file);
    try {
      await syncFolder(dirname(path));
      await recoverAtomicWrite(await file.readFile(), device);
      await log.#clear();
    } catch (e) {
      await file.close();
      throw e;
    }
    return log;
  }

  write(device: BlockDevice, offsetBytes: number, data: Uint8Array): Promise<void> {
    const turn = this.#last.then(() => this.#write(device, offsetBytes, data));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Waits for the write under way. */
  async close(): Promise<void> {
    await this.#last;
    await this.#file.close();
  }

  async #write(device: BlockDevice, offsetBytes: number, data: Uint8Array): Promise<void> {
    await this.#mustSucceed(flushed(device));
    const bytes = encodeAtomicWrite(
      offsetBytes,
      data,
      await stored(device, offsetBytes, data.length),
    );
    try {
      await this.#writeLog(bytes);
      await this.#file.datasync();
    } catch (cause) {
      await this.#mustSucceed(this.#clear());
      throw new BlockError('no-space', 'the log of atomic writes', offsetBytes, { cause });
    }
    await this.#mustSucceed(writeAndFlush(device, offsetBytes, data));
    await this.#mustSucceed(this.#clear());
  }

  /**
   * From the moment the log is whole, what it holds will be written when it is opened next. If that
   * cannot be brought to an end now, no later write may be acknowledged that it would undo.
   */
  async #mustSucceed(step: Promise<void>): Promise<void> {
    try {
      await step;
    } catch (cause) {
      throw new BlockError('failed', 'an atomic write was left half done', 0, { cause });
    }
  }

  /** A disk that fills up takes a part first, and says so only when asked for the rest. */
  async #writeLog(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += (await this.#file.write(bytes, at, bytes.length - at, at)).bytesWritten;
    }
  }

  async #clear(): Promise<void> {
    await this.#file.truncate(0);
    await this.#file.datasync();
  }
}

function flushed(device: BlockDevice): Promise<void> {
  return new Promise((resolve, reject) => {
    device.flush((error) => (error === null ? resolve() : reject(error)));
  });
}

function writeAndFlush(device: BlockDevice, offsetBytes: number, data: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    device.write(offsetBytes, data, 0, data.length, (written) => {
      if (written !== null) reject(written);
      else device.flush((flushed) => (flushed === null ? resolve() : reject(flushed)));
    });
  });
}

/** What the disk has now. Rejects with `BlockError`. */
async function stored(device: BlockDevice, offsetBytes: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  await new Promise<void>((resolve, reject) => {
    const done: BlockDone = (error) => (error === null ? resolve() : reject(error));
    device.read(offsetBytes, bytes, 0, length, done);
  });
  return bytes;
}

/** The bytes of a log that holds one write over `before`, which is as long as `data`. */
export function encodeAtomicWrite(offsetBytes: number, data: Uint8Array, before: Buffer): Buffer {
  const dataAt = HEADER_BYTES + sumsBytes(data.length);
  const bytes = Buffer.alloc(dataAt + data.length);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeBigUInt64BE(BigInt(offsetBytes), 8);
  bytes.writeUInt32BE(data.length, 16);
  for (let at = 0; at < data.length; at += SECTOR_BYTES) {
    bytes.writeUInt32BE(sumOf(before, at), HEADER_BYTES + sumsBytes(at));
  }
  bytes.set(data, dataAt);
  bytes.writeUInt32BE(crc32c(bytes, HEADER_BYTES, bytes.length - HEADER_BYTES), 20);
  bytes.writeUInt32BE(crc32c(bytes, 0, HEADER_CRC_AT), HEADER_CRC_AT);
  return bytes;
}

/**
 * Finishes the write that a log holds, if it holds a whole one: a torn log belongs to a write that
 * never began. Throws `DecodeError` for a whole one that does not fit the device, since then the
 * log is another image's.
 */
export async function recoverAtomicWrite(log: Buffer, device: BlockDevice): Promise<void> {
  if (log.length < HEADER_BYTES || log.toString('latin1', 0, 8) !== MAGIC) return;
  if (crc32c(log, 0, HEADER_CRC_AT) !== log.readUInt32BE(HEADER_CRC_AT)) return;
  const offset = Number(log.readBigUInt64BE(8));
  const length = log.readUInt32BE(16);
  const dataAt = HEADER_BYTES + sumsBytes(length);
  if (dataAt + length > log.length) return;
  if (crc32c(log, HEADER_BYTES, dataAt + length - HEADER_BYTES) !== log.readUInt32BE(20)) return;
  const whole = offset % device.blockBytes === 0 && length % device.blockBytes === 0;
  if (!whole || offset + length > device.sizeBytes) {
    throw new DecodeError('atomic-log', 'the log of an atomic write is of another disk', 8);
  }
  const data = log.subarray(dataAt, dataAt + length);
  const now = await stored(device, offset, length);
  for (let at = 0; at < length; at += SECTOR_BYTES) {
    const old = sumOf(now, at) === log.readUInt32BE(HEADER_BYTES + sumsBytes(at));
    const end = at + SECTOR_BYTES;
    if (!old && data.compare(now, at, end, at, end) !== 0) return;
  }
  await writeAndFlush(device, offset, data);
}

/** The room for the checksums of what lies before `lengthBytes`. */
function sumsBytes(lengthBytes: number): number {
  return (lengthBytes / SECTOR_BYTES) * 4;
}

function sumOf(bytes: Buffer, at: number): number {
  return crc32c(bytes, at, SECTOR_BYTES);
}
