/**
 * An NBD disk under random work and random disasters, against what it must hold (durability
 * contract 2, 4 and 8). The server has a cache that a crash loses; the client may lose nothing.
 *
 *   BLOCK_SEEDS=10000 node --test test/conformance/block-nbd-crash.test.ts
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked } from './block-calls.ts';
import { READ, ScriptedServer, openScripted, settled } from './block-nbd-server.ts';
import type { SeenRequest, ServerConnection } from './block-nbd-server.ts';

const SEEDS = Number(process.env['BLOCK_SEEDS'] ?? 300);
const BLOCKS = 64;
const BLOCK_BYTES = 4096;
const STEPS = 60;

type Random = (n: number) => number;

function randomOf(seed: number): Random {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % n;
  };
}

/** Answers late and in another order, or never: the moods of a server. */
class Moods {
  readonly #server: ScriptedServer;
  readonly #random: Random;
  #kept: [SeenRequest, ServerConnection][] = [];
  mood: 'honest' | 'slow' | 'deaf' = 'honest';

  constructor(server: ScriptedServer, random: Random) {
    this.#server = server;
    this.#random = random;
    server.handler = (request, connection) => {
      if (this.mood === 'honest') return false;
      // What a deaf server took is in its cache all the same, now and then.
      if (this.mood === 'slow' || this.#random(2) === 0) this.#kept.push([request, connection]);
      return true;
    };
  }

  /** Answers what was kept back, in any order but for one place: the server keeps that itself. */
  release(): void {
    const kept = this.#kept;
    this.#kept = [];
    const reads = kept.filter(([r]) => r.command === READ);
    const rest = kept.filter(([r]) => r.command !== READ);
    for (const [request, connection] of [...rest, ...reads.toReversed()]) {
      if (!connection.ended) this.#server.serve(request, connection);
    }
  }

  forget(): void {
    this.#kept = [];
  }
}

async function life(seed: number): Promise<void> {
  const random = randomOf(seed);
  const server = new ScriptedServer(BLOCKS * BLOCK_BYTES);
  server.structured = random(2) === 0;
  const unflushedBytesMax = [16, 64, 4096][random(3)] ?? 16;
  const { device, clock } = await openScripted(server, {
    unflushedBytesMax: unflushedBytesMax * 1024,
    holdMs: 1_000_000,
    stallMs: 900_000,
  });
  const moods = new Moods(server, random);
  const want = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  const busy = new Set<number>();
  const calls: Promise<unknown>[] = [];
  let fill = 0;

  const change = (): void => {
    const at = random(BLOCKS);
    const count = Math.min(1 + random(4), BLOCKS - at);
    const blocks = Array.from({ length: count }, (_, i) => at + i);
    if (blocks.some((b) => busy.has(b))) return; // their order would be nobody's promise
    for (const b of blocks) busy.add(b);
    fill = (fill % 250) + 1;
    const [offset, length] = [at * BLOCK_BYTES, count * BLOCK_BYTES];
    const zero = random(4) === 0;
    want.fill(zero ? 0 : fill, offset, offset + length);
    const bytes = Buffer.alloc(length, fill);
    const call = asked((done) => {
      if (zero) device.discard(offset, length, done);
      else device.write(offset, bytes, 0, length, done);
    });
    calls.push(
      call.then(() => {
        bytes.fill(0xff);
        for (const b of blocks) busy.delete(b);
      }),
    );
  };

  const look = (): void => {
    const at = random(BLOCKS);
    if (busy.has(at)) return;
    busy.add(at);
    const expected = Buffer.from(want.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
    const into = Buffer.alloc(BLOCK_BYTES);
    const call = asked((done) => device.read(at * BLOCK_BYTES, into, 0, BLOCK_BYTES, done));
    calls.push(
      call.then(() => {
        assert.ok(into.equals(expected), `seed ${seed}: block ${at} holds what was written`);
        busy.delete(at);
      }),
    );
  };

  const disaster = (): void => {
    moods.forget();
    server.crash();
    server.listening = random(3) > 0;
  };

  for (let step = 0; step < STEPS; step++) {
    const dice = random(20);
    if (dice < 8) change();
    else if (dice < 12) look();
    else if (dice < 13) calls.push(asked((done) => device.flush(done)));
    else if (dice < 15) moods.mood = (['honest', 'slow', 'deaf'] as const)[random(3)] ?? 'honest';
    else if (dice < 17) moods.release();
    else if (dice < 18) disaster();
    else await settled();
    if (random(4) === 0) {
      server.listening = true;
      clock.advance(random(6000));
    }
  }
  // A deaf server has lost requests, so it has to die before all can be answered.
  disaster();
  moods.mood = 'honest';
  server.listening = true;
  for (let i = 0; i < 20; i++) {
    clock.advance(6000);
    await settled();
  }
  await Promise.all(calls);
  assert.ok(server.cache.equals(want), `seed ${seed}: all that was answered is there`);
  await asked((done) => device.flush(done));
  server.crash();
  assert.ok(server.cache.equals(want), `seed ${seed}: and survives a crash after a flush`);
  await asked((done) => device.close(done));
}

test(`nbd_lives: ${SEEDS} random lives with crashes lose nothing that was answered`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await life(seed);
});
