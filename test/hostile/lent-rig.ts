/**
 * A real target on a real port whose disks are raw images that lend their pages for writing, and
 * what is needed to see that writes really went that way.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { fileSystemAt } from '#block/file-system.ts';
import { openRaw } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { Opcode, decodeDataIn, decodeScsiResponse } from '#iscsi/pdu/mod.ts';
import { encodeScsiCommand, framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { Pdu, ScsiCommandPdu } from '#iscsi/pdu/mod.ts';
import { ScatterBuffer } from '#os/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { BLOCK_BYTES, readWrite } from './raw-initiator.ts';
import type { RawInitiator, RawLogin, RawResult } from './raw-initiator.ts';
import { TARGET, listening, until } from './rig.ts';

const MIB = 1024 * 1024;
/** What must be read of a window of a disk before it is lent. */
const WORTH_BYTES = 4 * MIB;
export const LENT_DISK_BYTES: number = 4 * MIB;
/** What the disks hold in the beginning. */
export const OLD = 0x11;

/** False where a folder's file system does not lend for writing; /dev/shm always does. */
export async function lendsForWriting(t: TestContext, parent: string): Promise<boolean> {
  if ((await fileSystemAt(parent)) !== 'other') return true;
  t.diagnostic(`not in ${parent}: its file system does not lend for writing`);
  return false;
}

/** One system call that stored pieces straight from the receive buffer. */
export type Stored = {
  readonly pieces: number;
  /** Whether all of them came to where they should. */
  readonly whole: boolean;
};

/** Sees every such call from now on, until the test ends. */
export function watchStores(t: TestContext, each: () => void = () => undefined): Stored[] {
  const calls: Stored[] = [];
  // oxlint-disable-next-line typescript/unbound-method -- because it is called with its `this`
  const { add, store } = ScatterBuffer.prototype;
  let end = 0;
  t.mock.method(
    ScatterBuffer.prototype,
    'add',
    function (this: ScatterBuffer, at: number, lengthBytes: number, address: number): boolean {
      const taken = add.call(this, at, lengthBytes, address);
      if (taken) end = at + lengthBytes;
      return taken;
    },
  );
  t.mock.method(ScatterBuffer.prototype, 'store', function (this: ScatterBuffer): number {
    const pieces = this.count;
    const to = store.call(this);
    calls.push({ pieces, whole: to === end });
    each();
    return to;
  });
  return calls;
}

/** A disk of the target: its image, and the device that serves it. */
export type LentDisk = {
  readonly path: string;
  readonly device: BlockDevice;
  readonly content: () => Buffer;
};

export type LentRig = {
  readonly server: TargetServer;
  readonly disks: readonly LentDisk[];
  dial(): Promise<RawInitiator>;
  /** Connected, logged in, past the unit attentions, and with every disk lent. */
  enter(login?: RawLogin): Promise<RawInitiator>;
};

export type LentRigOptions = {
  /** Where the images lie; they must be there already where `images` names them. */
  readonly parent: string;
  readonly disks?: number;
  readonly images?: readonly string[];
  /** Bytes at the beginning of each disk that are there to be lent. */
  readonly warmBytes?: number;
  /** Called when all is closed. */
  readonly ended?: () => void;
};

const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'BATCHED',
  revision: '1',
} as const;

/** Starts it; it ends with the test. */
export async function lentRig(t: TestContext, options: LentRigOptions): Promise<LentRig> {
  const folder = mkdtempSync(join(options.parent, 'polyboot-batched-'));
  const paths =
    options.images ??
    Array.from({ length: options.disks ?? 1 }, (_, lun) => {
      const path = join(folder, `disk-${lun}.img`);
      writeFileSync(path, Buffer.alloc(LENT_DISK_BYTES, OLD));
      return path;
    });
  const clock = new FakeClock();
  const server = new TargetServer({ clock });
  const units = new LogicalUnitSet({ targetName: TARGET });
  const disks: LentDisk[] = [];
  for (const [lun, path] of paths.entries()) {
    const device = await openRaw(path);
    const identity = { ...IDENTITY, serial: `lun-${lun}`, naa: `300000000000000${lun}` };
    units.add(lun, new LogicalUnit({ device, identity }));
    disks.push({ path, device, content: () => readFileSync(path) });
  }
  server.addExport({ iqn: TARGET, access: 'any', takeover: false }, units);
  const { dial } = await listening(t, server, clock);
  t.after(async () => {
    for (const { device } of disks) await new Promise((resolve) => device.close(resolve));
    rmSync(folder, { recursive: true });
    options.ended?.();
  });
  const enter = async (login: RawLogin = {}): Promise<RawInitiator> => {
    const peer = await dial();
    await peer.login(login);
    for (const lun of disks.keys()) {
      await ready(peer, lun);
      await warm(peer, lun, options.warmBytes ?? LENT_DISK_BYTES);
    }
    return peer;
  };
  return { server, disks, dial, enter };
}

async function ready(peer: RawInitiator, lun: number): Promise<void> {
  for (let n = 0; n < 4; n++) {
    if ((await peer.result(peer.issue([0, 0, 0, 0, 0, 0], { lun }))).status === 0) return;
  }
  assert.fail(`LUN ${lun} is not ready`);
}

/** Reads until the disk is worth lending. */
async function warm(peer: RawInitiator, lun: number, warmBytes: number): Promise<void> {
  const blocks = 512;
  for (let read = 0; read <= WORTH_BYTES; read += blocks * BLOCK_BYTES) {
    const lba = (read % warmBytes) / BLOCK_BYTES;
    const expectedLengthBytes = blocks * BLOCK_BYTES;
    const tag = peer.issue(readWrite('read', lba, blocks), {
      lun,
      read: true,
      expectedLengthBytes,
    });
    assert.equal((await peer.result(tag)).status, 0);
  }
}

/** PDUs that are to arrive together. */
export class Segment {
  readonly tags: number[] = [];
  readonly #peer: RawInitiator;
  readonly #wire: Uint8Array[] = [];

  constructor(peer: RawInitiator) {
    this.#peer = peer;
  }

  command(cdb: readonly number[], more: Partial<ScsiCommandPdu> = {}): number {
    const pdu = this.#peer.commandPdu(cdb, more);
    this.add(encodeScsiCommand(pdu));
    this.tags.push(pdu.initiatorTaskTag);
    return pdu.initiatorTaskTag;
  }

  write(lba: number, data: Uint8Array, more: Partial<ScsiCommandPdu> = {}): number {
    const cdb = readWrite('write', lba, data.length / BLOCK_BYTES);
    return this.command(cdb, { write: true, expectedLengthBytes: data.length, data, ...more });
  }

  read(lba: number, blocks: number, more: Partial<ScsiCommandPdu> = {}): number {
    const expectedLengthBytes = blocks * BLOCK_BYTES;
    return this.command(readWrite('read', lba, blocks), {
      read: true,
      expectedLengthBytes,
      ...more,
    });
  }

  add(pdu: Pdu): void {
    this.#wire.push(framePdu(pdu, this.#peer.digests));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#wire);
  }

  /** All of it in one write to the socket. */
  send(): void {
    this.#peer.sendBytes(this.bytes);
  }

  /** In pieces that arrive one after the other, cut at these places. */
  async sendCut(cuts: readonly number[]): Promise<void> {
    const { bytes } = this;
    let from = 0;
    for (const to of [...cuts, bytes.length]) {
      this.#peer.sendBytes(bytes.subarray(from, to));
      from = to;
      await turns(2);
    }
  }
}

/** The event loop turns so many times: what was sent on loopback is received by then. */
export async function turns(count: number): Promise<void> {
  let left = count;
  await until(() => left-- === 0);
}

/** Data and status of commands, whatever their order. Other PDUs are handed to `other`. */
export async function answers(
  peer: RawInitiator,
  tags: readonly number[],
  other: (pdu: Pdu) => void = unexpected,
): Promise<Map<number, RawResult>> {
  const parts = new Map<number, Buffer[]>(tags.map((tag) => [tag, []]));
  const done = new Map<number, RawResult>();
  while (done.size < tags.length) {
    const pdu = await peer.next();
    const opcode = opcodeOf(pdu);
    if (opcode === Opcode.DATA_IN) {
      const part = decodeDataIn(pdu);
      const data = parts.get(part.initiatorTaskTag);
      assert.ok(data !== undefined, 'data of a task of ours');
      assert.equal(part.bufferOffsetBytes, lengthOf(data));
      data.push(Buffer.from(part.data));
      if (!part.hasStatus) continue;
      const sense = new Uint8Array(0);
      done.set(part.initiatorTaskTag, { ...part, sense, data: Buffer.concat(data) });
    } else if (opcode === Opcode.SCSI_RESPONSE) {
      const response = decodeScsiResponse(pdu);
      const data = parts.get(response.initiatorTaskTag);
      assert.ok(data !== undefined, 'status of a task of ours');
      assert.ok(!done.has(response.initiatorTaskTag), 'one status for each');
      done.set(response.initiatorTaskTag, { ...response, data: Buffer.concat(data) });
    } else {
      other(pdu);
    }
  }
  return done;
}

function unexpected(pdu: Pdu): void {
  assert.fail(`unexpected opcode 0x${opcodeOf(pdu).toString(16)}`);
}

function lengthOf(parts: readonly Buffer[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/** Fails the test unless every command ended with GOOD. */
export async function allGood(
  peer: RawInitiator,
  tags: readonly number[],
): Promise<Map<number, RawResult>> {
  const done = await answers(peer, tags);
  for (const [tag, result] of done) assert.equal(result.status, 0, `status of task ${tag}`);
  return done;
}

/** Blocks each of whose bytes is the mark. */
export function blocks(count: number, mark: number): Buffer {
  return Buffer.alloc(count * BLOCK_BYTES, mark);
}
