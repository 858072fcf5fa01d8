import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Opcode, decodeLoginResponse, encodeLoginRequest, framePdu } from '#iscsi/pdu/mod.ts';
import { NO_BYTES, NO_DIGESTS, encodeScsiCommand, parsePdu } from '#iscsi/pdu/mod.ts';
import { encodeText } from '#iscsi/text.ts';
import { Running } from '../lab/process.ts';

/**
 * The target is killed while it takes writes (durability contract 2: a WRITE that
 * returned GOOD survives kill -9). Each slot of the disk is written again and again with a growing
 * number; afterwards it must hold a number between the last one acknowledged and the last one sent.
 */
const SLOTS = 64;
const SLOT_BYTES = 4096;
const KILLS = 12;

/** An initiator that only writes slots, and knows what was acknowledged. */
class SlotWriter {
  readonly #socket: Socket;
  readonly sent = new Uint32Array(SLOTS);
  readonly acknowledged = new Uint32Array(SLOTS);
  #incoming = Buffer.alloc(0);
  #cmdSn = 1;
  #acks = 0;
  #target: { acks: number; resolve: () => void } | null = null;

  constructor(socket: Socket, start: Uint32Array) {
    this.#socket = socket;
    this.sent.set(start);
    this.acknowledged.set(start);
    socket.on('data', (data: Buffer) => {
      this.#received(data);
    });
    // The kill resets the connection.
    socket.on('error', () => {});
  }

  /** Writes all slots over and over; resolves after `count` acknowledgements, still writing. */
  async run(count: number): Promise<void> {
    const reached = new Promise<void>((resolve) => {
      this.#target = { acks: count, resolve };
    });
    for (let slot = 0; slot < SLOTS; slot++) this.#write(slot);
    await reached;
  }

  #write(slot: number): void {
    const value = this.sent[slot]! + 1;
    this.sent[slot] = value;
    const data = Buffer.alloc(SLOT_BYTES);
    for (let at = 0; at < SLOT_BYTES; at += 8) {
      data.writeUInt32BE(slot, at);
      data.writeUInt32BE(value, at + 4);
    }
    const cdb = Buffer.alloc(16);
    cdb[0] = 0x2a;
    cdb.writeUInt32BE((slot * SLOT_BYTES) / 512, 2);
    cdb.writeUInt16BE(SLOT_BYTES / 512, 7);
    const command = encodeScsiCommand({
      immediate: false,
      final: true,
      read: false,
      write: true,
      attribute: 1,
      lun: 0,
      initiatorTaskTag: slot,
      expectedLengthBytes: SLOT_BYTES,
      cmdSn: this.#cmdSn++,
      expStatSn: 0,
      cdb,
      extendedCdb: NO_BYTES,
      readLengthBytes: null,
      data,
    });
    this.#socket.write(framePdu(command, NO_DIGESTS));
  }

  #received(data: Buffer): void {
    this.#incoming = Buffer.concat([this.#incoming, data]);
    while (this.#incoming.length >= 48) {
      const dataBytes = this.#incoming.readUInt32BE(4) & 0xffffff;
      const total = 48 + dataBytes + (-dataBytes & 3);
      if (this.#incoming.length < total) return;
      const pdu = this.#incoming.subarray(0, total);
      this.#incoming = this.#incoming.subarray(total);
      assert.equal(pdu[0]! & 0x3f, Opcode.SCSI_RESPONSE);
      const slot = pdu.readUInt32BE(16);
      // The first command of a nexus is told that it is new, and is not a write then.
      if (pdu[3] === 0) this.acknowledged[slot] = this.sent[slot]!;
      this.#acks += 1;
      if (this.#acks === this.#target?.acks) this.#target.resolve();
      this.#write(slot);
    }
  }
}

async function logIn(port: number, iqn: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  const request = encodeLoginRequest({
    transit: true,
    more: false,
    currentStage: 1,
    nextStage: 3,
    versionMax: 0,
    versionMin: 0,
    isid: '800000000001',
    tsih: 0,
    initiatorTaskTag: 1,
    cid: 0,
    cmdSn: 1,
    expStatSn: 0,
    data: encodeText([
      ['InitiatorName', 'iqn.2026-11.test:writer'],
      ['TargetName', iqn],
      ['ImmediateData', 'Yes'],
      ['InitialR2T', 'Yes'],
    ]),
  });
  const answer = once(socket, 'data') as Promise<[Buffer]>;
  socket.write(framePdu(request, NO_DIGESTS));
  assert.equal(decodeLoginResponse(parsePdu((await answer)[0], NO_DIGESTS)).status, 0);
  return socket;
}

/** The number that a slot holds; throws when it is torn or of another slot. */
function valueOf(block: Buffer, slot: number): number {
  const value = block.readUInt32BE(4);
  for (let at = 0; at < SLOT_BYTES; at += 8) {
    const [s, v] = [block.readUInt32BE(at), block.readUInt32BE(at + 4)];
    if (value === 0) assert.deepEqual([s, v], [0, 0]);
    else assert.deepEqual([s, v], [slot, value], `slot ${slot} is torn at ${at}`);
  }
  return value;
}

test('kill -9 under write load loses no acknowledged write', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-crash-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'disk.raw');
  const file = await open(path, 'w+');
  await file.truncate(SLOTS * SLOT_BYTES);
  let last = new Uint32Array(SLOTS);
  for (let kill = 0; kill < KILLS; kill++) {
    const target = new Running(process.execPath, [
      new URL('iscsi-export.ts', import.meta.url).pathname,
      path,
    ]);
    const [, port = '', iqn = ''] = await target.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(.*)\/0\n/);
    const writer = new SlotWriter(await logIn(Number(port), iqn), last);
    await writer.run(500 + kill * 371);
    await target.stop('SIGKILL');
    const held = new Uint32Array(SLOTS);
    for (let slot = 0; slot < SLOTS; slot++) {
      const block = Buffer.alloc(SLOT_BYTES);
      await file.read(block, 0, SLOT_BYTES, slot * SLOT_BYTES);
      const value = valueOf(block, slot);
      held[slot] = value;
      const [least, most] = [writer.acknowledged[slot]!, writer.sent[slot]!];
      assert.ok(least <= value && value <= most, `slot ${slot}: ${least} ≤ ${value} ≤ ${most}`);
    }
    last = held;
  }
  await file.close();
  assert.ok(Math.min(...last) > KILLS, 'every slot was written in every round');
});
