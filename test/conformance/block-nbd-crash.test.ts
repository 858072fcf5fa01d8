/**
 * An NBD disk under random work and random disasters, against what it must hold (durability
 * contract 2, 4 and 8). The server has a cache that a crash loses; the client may lose nothing.
 *
 *   BLOCK_SEEDS=10000 node --test test/conformance/block-nbd-crash.test.ts
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockDevice } from '#block/mod.ts';
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

/** The owner of the disk: what it asked for, and what it therefore must find. */
class Owner {
  readonly want = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  readonly calls: Promise<unknown>[] = [];
  readonly #device: BlockDevice;
  readonly #random: Random;
  readonly #seed: number;
  readonly #busy = new Set<number>();
  #fill = 0;

  constructor(device: BlockDevice, random: Random, seed: number) {
    this.#device = device;
    this.#random = random;
    this.#seed = seed;
  }

  /** Writes or discards some blocks that no other call has to do with. */
  change(): void {
    const at = this.#random(BLOCKS);
    const count = Math.min(1 + this.#random(4), BLOCKS - at);
    const blocks = Array.from({ length: count }, (_, i) => at + i);
    if (blocks.some((b) => this.#busy.has(b))) return; // their order would be nobody's promise
    for (const b of blocks) this.#busy.add(b);
    this.#fill = (this.#fill % 250) + 1;
    const [offset, length] = [at * BLOCK_BYTES, count * BLOCK_BYTES];
    const zero = this.#random(4) === 0;
    this.want.fill(zero ? 0 : this.#fill, offset, offset + length);
    const bytes = Buffer.alloc(length, this.#fill);
    const call = asked((done) => {
      if (zero) this.#device.discard(offset, length, done);
      else this.#device.write(offset, bytes, 0, length, done);
    });
    this.calls.push(
      call.then(() => {
        bytes.fill(0xff);
        for (const b of blocks) this.#busy.delete(b);
      }),
    );
  }

  look(): void {
    const at = this.#random(BLOCKS);
    if (this.#busy.has(at)) return;
    this.#busy.add(at);
    const offset = at * BLOCK_BYTES;
    const expected = Buffer.from(this.want.subarray(offset, offset + BLOCK_BYTES));
    const into = Buffer.alloc(BLOCK_BYTES);
    const call = asked((done) => this.#device.read(offset, into, 0, BLOCK_BYTES, done));
    this.calls.push(
      call.then(() => {
        assert.ok(into.equals(expected), `seed ${this.#seed}: block ${at} holds what was written`);
        this.#busy.delete(at);
      }),
    );
  }

  flush(): void {
    this.calls.push(asked((done) => this.#device.flush(done)));
  }
}

async function life(seed: number): Promise<void> {
  const random = randomOf(seed);
  const server = new ScriptedServer(BLOCKS * BLOCK_BYTES);
  server.structured = random(2) === 0;
  const unflushedBytesMax = ([16, 64, 4096][random(3)] ?? 16) * 1024;
  const patience = { holdMs: 1_000_000, stallMs: 900_000 };
  const { device, clock } = await openScripted(server, { unflushedBytesMax, ...patience });
  const moods = new Moods(server, random);
  const owner = new Owner(device, random, seed);
  const disaster = (): void => {
    moods.forget();
    server.crash();
    server.listening = random(3) > 0;
  };
  for (let step = 0; step < STEPS; step++) {
    const dice = random(20);
    if (dice < 8) owner.change();
    else if (dice < 12) owner.look();
    else if (dice < 13) owner.flush();
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
  await Promise.all(owner.calls);
  assert.ok(server.cache.equals(owner.want), `seed ${seed}: all that was answered is there`);
  await asked((done) => device.flush(done));
  server.crash();
  assert.ok(server.cache.equals(owner.want), `seed ${seed}: and survives a crash after a flush`);
  await asked((done) => device.close(done));
}

test(`nbd_lives: ${SEEDS} random lives with crashes lose nothing that was answered`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await life(seed);
});
