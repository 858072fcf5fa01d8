import assert from 'node:assert/strict';
import { existsSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { Opcode, decodeDataIn, decodeScsiResponse, opcodeOf } from '#iscsi/pdu/mod.ts';
import { exportProcess } from './export-process.ts';
import type { ExportProcess } from './export-process.ts';
import { BLOCK_BYTES, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { marked } from './rig.ts';

const DISK_BYTES = 16 * 1024 * 1024;
const READ_BLOCKS = 128;
const DEPTH = 16;
const FOLDERS = [tmpdir(), '/dev/shm'];

/** Keeps reads in flight over the whole disk until told to stop; counts those that ended well. */
class Reader {
  readonly #peer: RawInitiator;
  #stop = false;
  good = 0;

  constructor(peer: RawInitiator) {
    this.#peer = peer;
  }

  stop(): void {
    this.#stop = true;
  }

  /** Resolves when nothing is in flight, or the target hung up. */
  async run(): Promise<void> {
    let next = 0;
    let open = 0;
    const issue = (): void => {
      const lba = (next++ * READ_BLOCKS) % (DISK_BYTES / BLOCK_BYTES);
      const expectedLengthBytes = READ_BLOCKS * BLOCK_BYTES;
      this.#peer.issue(readWrite('read', lba, READ_BLOCKS), { read: true, expectedLengthBytes });
      open += 1;
    };
    for (let n = 0; n < DEPTH; n++) issue();
    while (open > 0) {
      const pdu = await this.#peer.next().catch(() => null);
      if (pdu === null) return;
      if (opcodeOf(pdu) === Opcode.DATA_IN) {
        if (!decodeDataIn(pdu).hasStatus) continue;
        this.good += 1;
      } else {
        assert.equal(decodeScsiResponse(pdu).status, 2);
      }
      open -= 1;
      if (!this.#stop) issue();
    }
  }
}

/** Whether those who read shall stop, and who reads now. */
type Play = { over: boolean; readonly now: Set<Reader> };

/** A session that reads, and comes again when it is cut off, as an initiator does. */
async function readOn(target: ExportProcess, play: Play, n: number): Promise<number> {
  let good = 0;
  while (!play.over) {
    const peer = await target.enter({ initiator: `iqn.2026-11.test:reader-${n}` });
    const reader = new Reader(peer);
    play.now.add(reader);
    // It was over while this one came again: nobody else will tell it.
    if (play.over) reader.stop();
    await reader.run();
    play.now.delete(reader);
    good += reader.good;
    peer.cut();
  }
  return good;
}

for (const folder of FOLDERS) {
  test(`hostile case 36: an image is cut short while it is read (${folder})`, async (t) => {
    assert.ok(existsSync(folder));
    const target = await exportProcess(t, folder);
    const writer = await target.enter({ initiator: 'iqn.2026-11.test:writer' });
    for (let at = 0; at < DISK_BYTES / BLOCK_BYTES; at += READ_BLOCKS) {
      const tag = writer.write(at, marked(READ_BLOCKS * BLOCK_BYTES, 0x42));
      assert.equal((await writer.result(tag)).status, 0);
    }
    const play: Play = { over: false, now: new Set() };
    const readers = [0, 1, 2].map((n) => readOn(target, play, n));
    for (let n = 0; n < 60; n++) {
      truncateSync(target.path, n % 2 === 0 ? 4096 * (1 + n) : DISK_BYTES);
      // As long as a few hundred commands take.
      for (let k = 0; k < 20; k++) assert.equal((await writer.read(0, 1))[0], 0x42);
    }
    truncateSync(target.path, DISK_BYTES);
    play.over = true;
    for (const reader of play.now) reader.stop();
    const good = await Promise.all(readers);
    assert.ok(
      good.every((reads) => reads > 0),
      good.join(),
    );
    assert.ok(target.running.running, target.running.output);
    assert.equal((await writer.read(0, 1))[0], 0x42);
  });
}
