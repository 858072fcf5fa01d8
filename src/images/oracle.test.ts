import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { FakeClock, silentLog, UserError } from '#base/mod.ts';
import type { DiskSource } from '#block/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { answered } from '#block/mod.ts';
import { withDisk } from './device-io.ts';
import { chainOf } from './references.ts';

/**
 * Random verbs on a real library beside an oracle that knows, for every image, point and overlay of
 * a machine, which byte stands in each of eight places.
 */
const PLACES = 8;
const PLACE_BYTES = 64 * 1024;
const MACHINES = ['m1', 'm2'] as const;

type Bytes = readonly number[];
type OracleImage = {
  bytes: Bytes;
  frozen: boolean;
  points: Map<number, Bytes>;
  lastPoint: number;
};
type Oracle = { images: Map<string, OracleImage>; overlays: Map<string, { bytes: Bytes }> };

const VERBS = [
  'create',
  'write',
  'snapshot',
  'rollback',
  'freeze',
  'overlay',
  'clone',
  'promote',
  'flatten',
  'remove',
  'forget',
  'boot',
  'machine-write',
  'discard',
  'promote-machine',
] as const;

const step = fc.record({
  verb: fc.constantFrom(...VERBS),
  name: fc.constantFrom('a', 'a', 'b', 'b', 'c'),
  other: fc.constantFrom('b', 'b', 'c'),
  machine: fc.constantFrom(...MACHINES),
  place: fc.integer({ min: 0, max: PLACES - 1 }),
  value: fc.integer({ min: 1, max: 255 }),
  point: fc.integer({ min: 1, max: 3 }),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

async function readAll(source: DiskSource): Promise<number[]> {
  return withDisk(source, 'read', async (device) => {
    const values: number[] = [];
    for (let place = 0; place < PLACES; place += 1) {
      const bytes = Buffer.alloc(512);
      await answered((done) => {
        device.read(place * PLACE_BYTES + 1024, bytes, 0, 512, done);
      });
      values.push(bytes[0] ?? 0);
      assert.ok(bytes.every((b) => b === bytes[0]));
    }
    return values;
  });
}

async function write(source: DiskSource, place: number, value: number): Promise<void> {
  await withDisk(source, 'write', (device) =>
    answered((done) => {
      device.write(place * PLACE_BYTES + 1024, Buffer.alloc(512, value), 0, 512, done);
    }),
  );
}

/** Does the step on both; the oracle changes only when the library did it. */
async function perform(library: ImageLibrary, oracle: Oracle, s: Step): Promise<void> {
  const image = oracle.images.get(s.name);
  const add = (name: string, bytes: Bytes): void => {
    oracle.images.set(name, { bytes, frozen: false, points: new Map(), lastPoint: 0 });
  };
  switch (s.verb) {
    case 'create':
      await library.create(s.name, { preset: 'gpt', sizeBytes: 2 ** 20 });
      add(s.name, await readAll(library.sourceOf(s.name)));
      break;
    case 'write':
      if (image?.frozen !== false) return;
      await write(library.sourceOf(s.name), s.place, s.value);
      image.bytes = image.bytes.with(s.place, s.value);
      break;
    case 'snapshot':
      await library.snapshot(s.name);
      if (image !== undefined) point(image, image.bytes);
      break;
    case 'rollback': {
      await library.rollback(s.name, s.point);
      const to = image?.points.get(s.point);
      assert.ok(image !== undefined && to !== undefined, 'a point that is not there');
      image.bytes = to;
      break;
    }
    case 'freeze':
      await library.freeze(s.name);
      if (image?.frozen === false) point(image, image.bytes);
      if (image !== undefined) image.frozen = true;
      break;
    case 'overlay':
      await library.overlay(s.name, s.other);
      add(s.other, image?.bytes ?? []);
      break;
    case 'clone':
      await library.clone(`${s.name}@${s.point}`, s.other);
      add(s.other, image?.points.get(s.point) ?? []);
      break;
    case 'promote': {
      const golden = (await library.promote(s.name)).image.name;
      const target = oracle.images.get(golden);
      assert.ok(image !== undefined && target?.frozen === true);
      target.bytes = image.bytes;
      point(target, image.bytes);
      break;
    }
    case 'flatten':
      await library.flatten(s.name);
      break;
    case 'remove':
      await library.remove(s.name);
      oracle.images.delete(s.name);
      break;
    case 'forget':
      await library.remove(`${s.name}@${s.point}`);
      image?.points.delete(s.point);
      break;
    case 'boot':
    case 'machine-write':
    case 'discard':
    case 'promote-machine':
      await performOnMachine(library, oracle, s.verb, s);
  }
}

/** The verbs that speak of a machine's overlay. */
async function performOnMachine(
  library: ImageLibrary,
  oracle: Oracle,
  verb: 'boot' | 'machine-write' | 'discard' | 'promote-machine',
  s: Step,
): Promise<void> {
  const image = oracle.images.get(s.name);
  const key = `${s.machine} ${s.name}`;
  const drive = { image: s.name, mode: 'overlay-kept' } as const;
  const machine = { id: s.machine, name: s.machine };
  switch (verb) {
    case 'boot':
      if ((await library.prepareBoot(machine, [drive], true)).length > 0) return;
      if (!oracle.overlays.has(key)) oracle.overlays.set(key, { bytes: image?.bytes ?? [] });
      break;
    case 'machine-write': {
      const disk = library.diskOf(machine, drive);
      const overlay = oracle.overlays.get(key);
      assert.equal(disk === undefined, overlay === undefined);
      if (disk === undefined || overlay === undefined) return;
      await write(disk.source, s.place, s.value);
      overlay.bytes = overlay.bytes.with(s.place, s.value);
      break;
    }
    case 'discard':
      library.wish(s.machine, s.name, 'discard', false);
      oracle.overlays.delete(key);
      break;
    case 'promote-machine': {
      await library.promoteOverlay(s.machine, s.name);
      const bytes = oracle.overlays.get(key)?.bytes;
      assert.ok(image !== undefined && bytes !== undefined);
      image.bytes = bytes;
      point(image, bytes);
      break;
    }
  }
}

function point(target: OracleImage, bytes: Bytes): void {
  target.lastPoint += 1;
  target.points.set(target.lastPoint, bytes);
}

/** Bytes, references and files are as the oracle has them. */
async function compare(
  library: ImageLibrary,
  repository: MemoryImageRepository,
  folder: string,
  oracle: Oracle,
): Promise<void> {
  assert.deepEqual(
    library.list().map((i) => [i.name, i.frozen]),
    [...oracle.images].sort(([a], [b]) => (a < b ? -1 : 1)).map(([n, i]) => [n, i.frozen]),
  );
  for (const [name, { bytes, points }] of oracle.images) {
    assert.deepEqual(await readAll(library.sourceOf(name)), bytes, name);
    assert.deepEqual(
      library.history(name).points.map((p) => p.number),
      [...points.keys()].sort((a, b) => a - b),
    );
    for (const [number, was] of points)
      assert.deepEqual(await readAll(library.sourceOf(`${name}@${number}`)), was, name);
  }
  assert.equal(library.overlays().length, oracle.overlays.size);
  for (const [key, { bytes }] of oracle.overlays) {
    const [id = '', image = ''] = key.split(' ');
    const disk = library.diskOf({ id, name: id }, { image, mode: 'overlay-kept' });
    assert.deepEqual(await readAll(disk?.source ?? assert.fail(key)), bytes, key);
  }
  const files = repository.layers().map((layer) => layer.path.slice(folder.length + 1));
  assert.deepEqual(readdirSync(folder).sort(), files.sort(), 'a file for every layer, no other');
  const roots = [
    ...repository.list().map((i) => i.head),
    ...repository.points().map((p) => p.layer),
    ...repository.overlays().map((o) => o.layer),
  ];
  const reached = new Set(roots.flatMap((id) => chainOf(repository, id).map((l) => l.id)));
  assert.equal(reached.size, files.length, 'nothing is kept that nobody needs');
  for (const layer of repository.layers()) {
    const parent = layer.parent === undefined ? undefined : repository.layer(layer.parent);
    assert.ok(parent === undefined || parent.frozen !== undefined, 'what is stood on is frozen');
    const writable = (statSync(layer.path).mode & 0o200) !== 0;
    assert.equal(writable, layer.frozen === undefined);
  }
}

test('random verbs: every image, point and overlay has the bytes that it should', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 40, maxLength: 60, size: 'max' }),
      async (steps) => {
        const root = mkdtempSync(join(tmpdir(), 'polyboot-oracle-'));
        const folder = join(root, 'library');
        const repository = new MemoryImageRepository();
        const open = (): ImageLibrary =>
          ImageLibrary.open({
            folder,
            cacheFolder: join(root, 'cache'),
            repository,
            clock: new FakeClock(),
            log: silentLog,
            usersOf: () => [],
          });
        const oracle: Oracle = { images: new Map(), overlays: new Map() };
        let library = open();
        try {
          await perform(library, oracle, { ...FIRST, verb: 'create' });
          await perform(library, oracle, { ...FIRST, verb: 'freeze' });
          for (const s of steps) {
            try {
              await perform(library, oracle, s);
            } catch (e) {
              // A refusal changes nothing.
              if (!(e instanceof UserError)) throw e;
            }
            if (s.value % 16 === 0) library = open();
          }
          await compare(library, repository, folder, oracle);
        } finally {
          rmSync(root, { recursive: true, force: true });
        }
      },
    ),
    { numRuns: 60, seed: 4 },
  );
});

const FIRST = { name: 'a', other: 'b', machine: 'm1', place: 0, value: 1, point: 1 } as const;
