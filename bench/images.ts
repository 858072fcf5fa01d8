import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatBytes, silentLog, systemClock } from '#base/mod.ts';
import { ImageLibrary } from '#images/mod.ts';
import { openState } from '#store/mod.ts';

/**
 * How long the verbs of the image library take on a disk of 10 GiB with some data on it, with the
 * real store (each is on stable media when it returns), and what a fresh overlay costs a booting
 * machine. Medians.
 *
 *     node bench/images.ts [data in MiB = 1024] [rounds = 9] [folder = the temporary one]
 */
const dataMib = Number(process.argv[2] ?? '1024');
const rounds = Number(process.argv[3] ?? '9');
const parent = process.argv[4] ?? tmpdir();
const DISK_BYTES = 10 * 2 ** 30;
const MIB = 2 ** 20;

const root = mkdtempSync(join(parent, 'polyboot-bench-images-'));
const state = openState(join(root, 'state.db'));
const library = ImageLibrary.open({
  folder: join(root, 'library'),
  cacheFolder: join(root, 'cache'),
  repository: state.images,
  clock: systemClock,
  log: silentLog,
  usersOf: () => [],
});

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The median of `rounds` runs; `undo` is not timed. */
async function row(
  what: string,
  work: (n: number) => Promise<unknown>,
  undo: (n: number) => Promise<unknown> = () => Promise.resolve(),
  times = rounds,
): Promise<void> {
  const taken: number[] = [];
  for (let n = 0; n < times; n += 1) {
    taken.push(await timed(() => work(n)));
    await undo(n);
  }
  taken.sort((a, b) => a - b);
  const median = taken[times >> 1] ?? 0;
  const worst = taken.at(-1) ?? 0;
  say(`${what.padEnd(44)} ${median.toFixed(1).padStart(9)} ms   worst ${worst.toFixed(1)} ms`);
}

/** Puts data at places all over the disk. */
function fill(path: string): void {
  const fd = openSync(path, 'r+');
  const bytes = randomBytes(MIB);
  const step = Math.floor(DISK_BYTES / MIB / dataMib) * MIB;
  for (let n = 0; n < dataMib; n += 1) writeSync(fd, bytes, 0, MIB, n * step + MIB);
  closeSync(fd);
}

try {
  const gpt = { preset: 'gpt', sizeBytes: DISK_BYTES } as const;
  say(`10 GiB disk, ${formatBytes(dataMib * MIB)} of data, in ${parent}`);
  await row(
    'create',
    (n) => library.create(`new${n}`, gpt),
    (n) => library.remove(`new${n}`),
  );
  const { path } = await library.create('disk', gpt);
  fill(path);
  await row(
    'clone (reflink, or the data)',
    (n) => library.clone('disk', `clone${n}`),
    (n) => library.remove(`clone${n}`),
    3,
  );
  await row(
    'snapshot',
    () => library.snapshot('disk'),
    () => Promise.resolve(),
  );
  await row('rollback', () => library.rollback('disk', 1));
  await row('flatten (all the data)', async () => library.flatten('disk'), undefined, 1);
  await library.freeze('disk');
  await row(
    'overlay image',
    (n) => library.overlay('disk', `over${n}`),
    (n) => library.remove(`over${n}`),
    rounds * 3,
  );
  const drive = { image: 'disk', mode: 'overlay-fresh' } as const;
  await row(
    'fresh overlay of a booting machine',
    (n) => library.prepareBoot({ id: `m${n % 5}`, name: `m${n % 5}` }, [drive], true),
    undefined,
    rounds * 5,
  );
  const many = 200;
  const all = await timed(async () => {
    for (let n = 0; n < many; n += 1)
      await library.prepareBoot({ id: `x${n}`, name: `x${n}` }, [drive], true);
  });
  say(`${many} machines at once, one after another: ${(all / many).toFixed(1)} ms each`);
  const overlay = state.images.overlays()[0];
  const layer = overlay === undefined ? undefined : state.images.layer(overlay.layer);
  if (layer !== undefined) say(`an empty overlay takes ${statSync(layer.path).blocks / 2} KiB`);
  const look = await timed(() => Promise.resolve(library.history('disk')));
  const count = await timed(() => Promise.resolve(library.usage('disk')));
  say(`with ${many} overlays: history ${look.toFixed(1)} ms, usage ${count.toFixed(1)} ms`);
} finally {
  state.close();
  rmSync(root, { recursive: true, force: true });
}
