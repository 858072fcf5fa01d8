import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { DISCOVERY_PER_ADDRESS_MAX, HALF_OPEN_MAX } from '#iscsi/limits.ts';
import { HALF_OPEN_PER_ADDRESS_MAX, LOGIN_DEADLINE_MS, OUTPUT_BYTES_MAX } from '#iscsi/limits.ts';
import { NO_DIGESTS, encodeLoginRequest, framePdu } from '#iscsi/pdu/mod.ts';
import { crowd, exportProcess } from './export-process.ts';
import type { ExportProcess } from './export-process.ts';
import { BLOCK_BYTES, loginRequest, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { marked } from './rig.ts';

/** Sockets that both ends of a test may hold; the flood is cut to what the host allows. */
const FLOOD = 10_000;
/** Files, listeners, pipes, and sockets on their way out. */
const DESCRIPTORS_BESIDE = 120;
/**
 * A socket without a session: Node's objects, kernel memory that is not ours, and the garbage of
 * ten times as many, of which a host with little time collects less (86 MiB in all were seen).
 */
const HALF_OPEN_MIB = 0.2;
const SESSION_MIB = 0.2;

/** 127.0.0.2 … 127.0.0.201 */
const source = (n: number): string => `127.0.0.${2 + (n % 200)}`;

/** Writes and reads a block of its own; what it reads is what it wrote. */
async function works(peer: RawInitiator, n: number): Promise<void> {
  const lba = n % 1000;
  const mark = 1 + (n % 250);
  const written = await peer.result(peer.write(lba, marked(BLOCK_BYTES, mark)));
  assert.equal(written.status, 0);
  const data = await peer.read(lba, 1);
  assert.equal(data[0], mark);
}

/** Hangs up and waits until the other side has let go of everything but `left` descriptors. */
async function calm(target: ExportProcess, peers: RawInitiator[], left: number): Promise<void> {
  for (const peer of peers) peer.cut();
  while (target.descriptors() > left) await turn();
}

test('hostile case 22: 10,000 half-open connections: bounded, told, and others get in', async (t) => {
  const target = await exportProcess(t);
  const witness = await target.enter({ initiator: 'iqn.2026-11.test:witness' });
  const [before, startMib] = [target.descriptors(), target.residentMib()];
  const peers: RawInitiator[] = [];
  let done = 0;
  let most = 0;
  await crowd(FLOOD, 100, async (n) => {
    try {
      peers.push(await target.dial({ from: source(n) }));
    } catch {
      // Refused at the door.
    }
    if ((done += 1) % 500 !== 0) return;
    most = Math.max(most, target.descriptors());
    await works(witness, n);
    // The flood fills every place again and again; who logs in at once gets one.
    const newcomer = await target.enter({ initiator: `iqn.2026-11.test:newcomer-${n}` });
    await works(newcomer, n);
    newcomer.cut();
  });
  assert.ok(most <= HALF_OPEN_MAX + before + DESCRIPTORS_BESIDE, `${most} descriptors`);
  const grown = target.residentMib() - startMib;
  assert.ok(grown < HALF_OPEN_MAX * HALF_OPEN_MIB, `${grown} MiB more`);
  const log = await target.running.waitFor(/"msg":"(?:a connection was|connections) turned away"/);
  assert.ok(log.length > 0);
  await calm(target, peers, before + DESCRIPTORS_BESIDE);
  await works(witness, 7);
});

test('hostile case 22: a flood with an address of its own for each connection', async (t) => {
  const target = await exportProcess(t);
  const peers: RawInitiator[] = [];
  await crowd(3000, 100, async (n) => {
    try {
      peers.push(await target.dial({ from: `127.1.${1 + (n >> 8)}.${n & 255}` }));
    } catch {
      // Refused at the door.
    }
    if (n % 500 !== 499) return;
    const newcomer = await target.enter({ initiator: `iqn.2026-11.test:newcomer-${n}` });
    await works(newcomer, n);
    newcomer.cut();
  });
  assert.ok(target.descriptors() <= HALF_OPEN_MAX + DESCRIPTORS_BESIDE);
  for (const peer of peers) peer.cut();
});

test('hostile case 22: one address cannot hold more than its share, however it tries', async (t) => {
  const target = await exportProcess(t);
  const before = target.descriptors();
  const bad = framePdu(encodeLoginRequest(loginRequest([['InitiatorName', 'nobody']])), NO_DIGESTS);
  const silent: RawInitiator[] = [];
  const refused: RawInitiator[] = [];
  await crowd(500, 50, async (n) => {
    silent.push(await target.dial({ from: '127.0.0.2' }));
    // These are answered and then not closed by their side.
    const peer = await target.dial({ from: '127.0.0.3' });
    refused.push(peer);
    peer.sendBytes(bad);
    if (n % 100 === 0) await works(await target.enter({ initiator: `iqn.2026-11.test:${n}` }), n);
  });
  await Promise.all(silent.slice(HALF_OPEN_PER_ADDRESS_MAX + 50).map((peer) => peer.ended()));
  await Promise.all(refused.map((peer) => peer.ended()));
  const held = target.descriptors() - before;
  assert.ok(held <= 2 * HALF_OPEN_PER_ADDRESS_MAX + 16, `${held} descriptors for two addresses`);
});

test('hostile case 22: a flood of discovery sessions keeps nobody out', async (t) => {
  const target = await exportProcess(t);
  const before = target.descriptors();
  let inside = 0;
  await crowd(500, 50, async (n) => {
    const peer = await target.dial({ from: '127.0.0.2' });
    const initiator = `iqn.2026-11.test:scout-${n}`;
    const answer = await peer.tryLogin({ initiator, discovery: true, keys: [] }).catch(() => null);
    if (answer?.status === 0) inside += 1;
  });
  assert.ok(inside >= 1 && inside <= DISCOVERY_PER_ADDRESS_MAX, `${inside} scouts`);
  await works(await target.enter({ initiator: 'iqn.2026-11.test:machine' }), 3);
  assert.ok(target.descriptors() - before < HALF_OPEN_PER_ADDRESS_MAX + 64);
});

test('hostile case 22: a slow drip of logins is cut at the deadline', async (t) => {
  const target = await exportProcess(t);
  const bytes = framePdu(encodeLoginRequest(loginRequest([])), NO_DIGESTS);
  const startMs = performance.now();
  const drips = await Promise.all(Array.from({ length: 50 }, () => target.dial()));
  let at = 0;
  const drop = setInterval(() => {
    for (const peer of drips)
      if (!peer.closed) peer.sendBytes(bytes.subarray(at % 40, (at % 40) + 1));
    at += 1;
  }, 500);
  t.after(() => {
    clearInterval(drop);
  });
  await works(await target.enter({ initiator: 'iqn.2026-11.test:machine' }), 1);
  await Promise.all(drips.map((peer) => peer.ended()));
  assert.ok(performance.now() - startMs >= LOGIN_DEADLINE_MS, 'not before its time');
});

test('hostile case 29: readers that never read: bounded, and others are served', async (t) => {
  const readers = 16;
  const target = await exportProcess(t);
  const witness = await target.enter({ initiator: 'iqn.2026-11.test:witness' });
  const startMib = target.residentMib();
  const blocks = 2048;
  await crowd(readers, readers, async (n) => {
    const peer = await target.enter({ initiator: `iqn.2026-11.test:deaf-${n}` });
    peer.socket.pause();
    const expectedLengthBytes = blocks * BLOCK_BYTES;
    for (let k = 0; k < 200; k++) {
      peer.issue(readWrite('read', 0, blocks), { read: true, expectedLengthBytes });
    }
  });
  for (let n = 0; n < 500; n++) await works(witness, n);
  const grown = target.residentMib() - startMib;
  // Output, and the pages of the disk that are read into buffers; see limits.ts: 10 MiB each.
  const bound = (readers * 5 * OUTPUT_BYTES_MAX) / (1024 * 1024);
  assert.ok(grown < bound, `${grown} MiB more for ${readers} readers`);
});

test('hostile case 51: 1,000 sessions each get what they wrote, and memory is bounded', async (t) => {
  const count = 1000;
  const target = await exportProcess(t);
  const [before, startMib] = [target.descriptors(), target.residentMib()];
  const peers: RawInitiator[] = [];
  await crowd(count, 40, async (n) => {
    peers.push(await target.enter({ initiator: `iqn.2026-11.test:machine-${n}` }));
  });
  await crowd(count, 200, (n) => works(peers[n]!, n));
  const grown = target.residentMib() - startMib;
  assert.ok(grown < count * SESSION_MIB, `${grown} MiB more`);
  await calm(target, peers, before + DESCRIPTORS_BESIDE);
});

test('hostile case 22: connections that come and go leave nothing behind', async (t) => {
  const target = await exportProcess(t);
  const witness = await target.enter({ initiator: 'iqn.2026-11.test:witness' });
  const [before, startMib] = [target.descriptors(), target.residentMib()];
  await storm(target, witness);
  while (target.descriptors() > before + 8) await turn();
  const grown = target.residentMib() - startMib;
  assert.ok(grown < HALF_OPEN_MAX * HALF_OPEN_MIB, `${grown} MiB more`);
  await works(witness, 9);
});

async function storm(target: ExportProcess, witness: RawInitiator): Promise<void> {
  const login = framePdu(encodeLoginRequest(loginRequest([])), NO_DIGESTS);
  await crowd(5000, 50, async (n) => {
    try {
      const peer = await target.dial({ from: source(n) });
      // Some hang up at once, some in the middle of a login, some politely.
      if (n % 3 === 1) peer.sendBytes(login.subarray(0, n % 48));
      if (n % 3 === 2) peer.socket.end();
      else peer.cut();
    } catch {
      // Refused: that is one way to be gone.
    }
    if (n % 500 === 0) await works(witness, n);
  });
}
