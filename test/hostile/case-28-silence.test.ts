import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '#block/mod.ts';
import { OUTPUT_BYTES_MAX, PING_AFTER_MS, PING_TIMEOUT_MS } from '#iscsi/limits.ts';
import { Opcode, RESERVED_TAG, decodeNopIn, encodeNopOut, opcodeOf } from '#iscsi/pdu/mod.ts';
import { BLOCK_BYTES, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { DISK_BYTES, HeldDevice, marked, rig, until } from './rig.ts';
import type { Rig } from './rig.ts';

/** Time passes until somebody who says nothing is asked whether he is there. */
function silence(r: Rig): void {
  for (let ms = 0; ms <= PING_AFTER_MS + 2000; ms += 1000) r.clock.advance(1000);
}

async function asked(peer: RawInitiator): Promise<number> {
  const pdu = await peer.next();
  assert.equal(opcodeOf(pdu), Opcode.NOP_IN);
  const ping = decodeNopIn(pdu);
  assert.equal(ping.initiatorTaskTag, RESERVED_TAG);
  assert.notEqual(ping.targetTransferTag, RESERVED_TAG);
  return ping.targetTransferTag;
}

test('hostile case 28: an initiator that died is pinged, dropped, and reported', async (t) => {
  const disk = new HeldDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }));
  const r = await rig(t, { device: disk });
  const peer = await r.enter();
  peer.write(0, marked(BLOCK_BYTES, 1));
  await until(() => disk.waiting.length === 1);
  silence(r);
  await asked(peer);
  r.clock.advance(PING_TIMEOUT_MS - 1000);
  assert.equal(r.server.stats().sessions.length, 1, 'not before its time');
  r.clock.advance(3000);
  await peer.ended();
  assert.equal(r.server.stats().counters['pings-unanswered'], 1);
  assert.equal(r.server.stats().sessions.length, 1, 'its write is on its way to the disk');
  disk.unlock();
  await until(() => r.server.stats().sessions.length === 0);
  const lost = r.events.find((e) => e.kind === 'connection-lost');
  assert.match(lost?.reason ?? '', /does not answer/);
  assert.equal(lost?.session.initiatorName, 'iqn.2026-11.test:initiator');
  const again = await r.enter();
  assert.equal((await again.read(0, 1)).length, BLOCK_BYTES);
});

test('hostile case 28: any sign of life is one, and it has to come again', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  for (let n = 0; n < 5; n++) {
    silence(r);
    const targetTransferTag = await asked(peer);
    const tags = { initiatorTaskTag: RESERVED_TAG, targetTransferTag, lun: 0 };
    const rest = { cmdSn: peer.cmdSn, expStatSn: 0, data: new Uint8Array() };
    const before = r.server.stats().counters.connections;
    peer.send(encodeNopOut({ immediate: true, ...tags, ...rest }));
    assert.equal(before, 1);
    await peer.read(0, 1);
  }
  silence(r);
  await asked(peer);
  r.clock.advance(PING_TIMEOUT_MS + 2000);
  await peer.ended();
});

test('hostile case 29: a reader that never reads: its output is bounded, others go on', async (t) => {
  const r = await rig(t);
  const witness = await r.enter({ initiator: 'iqn.2026-11.test:witness' });
  const deaf = await r.enter();
  deaf.socket.pause();
  const blocks = 2048;
  for (let n = 0; n < 250; n++) {
    const expectedLengthBytes = blocks * BLOCK_BYTES;
    deaf.issue(readWrite('read', 0, blocks), { read: true, expectedLengthBytes });
  }
  await until(() => r.server.plane.chunks.taken > 0);
  const chunkBytes = 260 * 1024;
  for (let n = 0; n < 200; n++) {
    assert.equal((await witness.read(n, 1)).length, BLOCK_BYTES);
    const held = r.server.plane.chunks.taken * chunkBytes;
    assert.ok(held <= OUTPUT_BYTES_MAX + 2 * chunkBytes, `${held} bytes for one reader`);
  }
  // It never reads, so it never answers either.
  silence(r);
  for (let ms = 0; ms <= PING_TIMEOUT_MS; ms += 1000) {
    if (ms % 10_000 === 0) await lookAlive(witness);
    r.clock.advance(1000);
  }
  await until(() => r.server.plane.chunks.taken === 0);
  assert.equal(r.server.stats().counters['pings-unanswered'], 1);
});

/** Reads a block, past the pings that came meanwhile. */
async function lookAlive(peer: RawInitiator): Promise<void> {
  while (peer.received.length > 0) await peer.next();
  peer.nop(1);
  while (decodeNopIn(await peer.next()).initiatorTaskTag !== 1);
}

test('hostile case 29: a reader that starts to read again gets everything, in order', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  peer.socket.pause();
  const tags = Array.from({ length: 64 }, () =>
    peer.issue(readWrite('read', 0, 2048), { read: true, expectedLengthBytes: 2048 * BLOCK_BYTES }),
  );
  await until(() => r.server.plane.chunks.taken > 0);
  peer.socket.resume();
  for (const tag of tags) {
    const result = await peer.result(tag);
    assert.deepEqual([result.status, result.data.length], [0, 2048 * BLOCK_BYTES]);
  }
  assert.equal(r.server.plane.chunks.taken, 0);
});
