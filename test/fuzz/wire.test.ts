import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RECEIVE_SEGMENT_BYTES_MAX } from '#iscsi/limits.ts';
import { USUAL_KEYS } from '../hostile/raw-initiator.ts';
import type { RawInitiator } from '../hostile/raw-initiator.ts';
import { imageFile, marked, rig, until } from '../hostile/rig.ts';
import type { Rig } from '../hostile/rig.ts';
import { Dice, cases, turn } from './dice.ts';
import { SessionScript } from './session-script.ts';
import { missingBytes } from './stream-model.ts';

/**
 * The same mutated sessions over real sockets and on a real file: what is read goes from the page
 * cache into the socket by its address, which no test in memory can see.
 */
const CASES = cases(1500);
const PROBE_TAG = 0x7e57;
const BLOCK_BYTES = 512;

/** Sends a mutated session and looks whether it still answers, or was closed. */
async function play(r: Rig, dice: Dice, n: number): Promise<void> {
  const digests = dice.once(3);
  const on = digests ? ([['DataDigest', 'CRC32C']] as const) : [];
  const peer = await r.enter({ isid: '80000000000f', keys: [...USUAL_KEYS, ...on] });
  const sent: Uint8Array[] = [];
  for (const piece of new SessionScript(dice, peer).pieces()) {
    if (peer.closed) break;
    peer.sendBytes(piece);
    sent.push(piece);
    if (dice.once(3)) await turn();
    // Some do not read for a while, so that answers wait in the target.
    if (dice.once(10)) peer.socket.pause();
    if (dice.once(4)) peer.socket.resume();
  }
  peer.socket.resume();
  if (!peer.closed && dice.roll(4) > 0) await answers(peer, Buffer.concat(sent), n);
  peer.cut();
}

async function answers(peer: RawInitiator, sent: Buffer, n: number): Promise<void> {
  let stream = sent;
  for (;;) {
    const missing = missingBytes(stream, peer.digests, RECEIVE_SEGMENT_BYTES_MAX);
    if (missing === null) {
      await peer.ended();
      return;
    }
    if (missing === 0) break;
    peer.sendBytes(new Uint8Array(missing));
    stream = Buffer.concat([stream, new Uint8Array(missing)]);
  }
  peer.nop(PROBE_TAG);
  for (;;) {
    const pdu = await peer.next().catch(() => null);
    if (pdu === null) return;
    const tag = Buffer.from(pdu.header).readUInt32BE(16);
    if (tag === PROBE_TAG) return;
    assert.ok(pdu.header.length === 48, `case ${n}`);
  }
}

test(`fuzz: PDU streams over sockets, on a file: ${CASES} sessions`, async (t) => {
  const image = await imageFile(t, 1024 * 1024);
  const own = await imageFile(t, 1024 * 1024);
  const r = await rig(t, { device: image.device });
  const calm = await rig(t, { device: own.device });
  const witness = await calm.enter({ initiator: 'iqn.2026-11.test:witness' });
  const dice = new Dice(0x50c7);
  for (let n = 0; n < CASES; n++) {
    await play(r, dice, n);
    if (n % 50 !== 0) continue;
    const lba = n % 1000;
    const written = await witness.result(witness.write(lba, marked(BLOCK_BYTES, 1 + (n % 250))));
    assert.equal(written.status, 0);
    assert.equal((await witness.read(lba, 1))[0], 1 + (n % 250));
  }
  await until(() => r.server.stats().sessions.length === 0);
  await until(() => r.server.plane.chunks.taken === 0);
  const last = await r.enter();
  assert.equal((await last.read(0, 1)).length, BLOCK_BYTES);
});
