/**
 * The suites over what needs a machine: block devices, overlay chains, ISO, the cache, the pool.
 */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoOf, systemClock } from '#base/mod.ts';
import {
  BasePool,
  CachedDevice,
  CounterDevice,
  DelayDevice,
  ErrorDevice,
  HotBlocks,
  MemoryDevice,
  ReadOnlyDevice,
  SliceDevice,
  VolatileDevice,
  createQcow2,
  openDisk,
  openRaw,
} from '#block/mod.ts';
import type { BlockDevice, DiskSource, OpenOptions } from '#block/mod.ts';
import { run } from '../lab/process.ts';
import { asked, blockDeviceSuite, writeBytes } from './block-device.ts';
import type { Subject } from './block-device.ts';
import { numberedContent, readOnlySuite } from './block-read-only.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 8 * MIB;
const nothing = (): Promise<void> => Promise.resolve();

async function inFolder(
  body: (home: string) => Promise<{ device: BlockDevice; cleanUp?: () => Promise<void> }>,
): Promise<Subject> {
  const home = mkdtempSync(join(tmpdir(), 'polyboot-kinds-'));
  const { device, cleanUp } = await body(home);
  return {
    device,
    cleanUp: async () => {
      await cleanUp?.();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

// ---- block devices

/** Behind a filter, which has no `grow`: only the owner of a block device makes it larger. */
async function openBlockDevice(path: string, readOnly: boolean): Promise<BlockDevice> {
  return new CounterDevice(await openRaw(path, { readOnly }));
}

async function loopDevice(readOnly: boolean): Promise<Subject> {
  return inFolder(async (home) => {
    const path = join(home, 'loop.img');
    writeFileSync(path, readOnly ? numberedContent(SIZE_BYTES) : '');
    truncateSync(path, SIZE_BYTES);
    const loop = (await run('losetup', ['--find', '--show', path])).trim();
    const device = await openBlockDevice(loop, readOnly);
    const cleanUp = async (): Promise<void> => {
      await run('losetup', ['--detach', loop]);
    };
    return { device, cleanUp };
  });
}

/** The kernel has no SEEK_HOLE for block devices. */
const LACKS = { holes: 'a block device does not say what it has given back' };
const LOOP = { root: true, tools: ['losetup'], files: ['/dev/loop-control'] };
blockDeviceSuite('loop device', () => loopDevice(false), LOOP, LACKS);
readOnlySuite('loop device, read-only', () => loopDevice(true), LOOP);

const ZRAM_CONTROL = '/sys/class/zram-control';

/** Does it as soon as nobody has the device open: udev looks at what a writer has closed. */
async function whenIdle(act: () => void): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  for (;;) {
    try {
      act();
      return;
    } catch (e) {
      if (errnoOf(e) !== 'EBUSY' || performance.now() > deadlineMs) throw e;
      await pause(50);
    }
  }
}

/** A disk of compressed memory: the only one here whose own blocks have 4096 bytes. */
async function zramDevice(): Promise<Subject> {
  const id = readFileSync(`${ZRAM_CONTROL}/hot_add`, 'utf8').trim();
  writeFileSync(`/sys/block/zram${id}/disksize`, String(SIZE_BYTES));
  const node = `/dev/zram${id}`;
  if (!existsSync(node)) {
    const [major = '', minor = ''] = readFileSync(`/sys/block/zram${id}/dev`, 'utf8')
      .trim()
      .split(':');
    await run('mknod', [node, 'b', major, minor]);
  }
  const device = await openBlockDevice(node, false);
  return {
    device,
    cleanUp: async () => {
      await whenIdle(() => {
        writeFileSync(`/sys/block/zram${id}/reset`, '1');
        writeFileSync(`${ZRAM_CONTROL}/hot_remove`, id);
      });
      rmSync(node, { force: true });
    },
  };
}

const ZRAM = { root: true, files: [`${ZRAM_CONTROL}/hot_add`] };
blockDeviceSuite('zram device, 4096-byte blocks', zramDevice, ZRAM, LACKS);

// ---- overlays, through the door that the data plane uses

/** A raw base of zeros, and `levels` qcow2 files on it. */
async function chain(home: string, levels: number, content: Buffer | null): Promise<DiskSource> {
  const base = join(home, 'base.img');
  writeFileSync(base, content ?? '');
  truncateSync(base, SIZE_BYTES);
  let source: DiskSource = { kind: 'raw', path: base };
  for (let level = 1; level <= levels; level++) {
    const path = join(home, `level${level}`);
    const backing = { file: 'base.img', format: level === 1 ? 'raw' : 'qcow2' } as const;
    await createQcow2(path, { sizeBytes: SIZE_BYTES, backing });
    source = { kind: 'qcow2', path, backing: source };
  }
  return source;
}

const opened =
  (levels: number, options: OpenOptions = {}, cached = false) =>
  (): Promise<Subject> =>
    inFolder(async (home) => {
      const content = options.readOnly === true ? numberedContent(SIZE_BYTES) : null;
      const source = await chain(home, levels, content);
      return { device: await openDisk({ ...source, cached }, options, new BasePool()) };
    });

blockDeviceSuite('opened raw file', opened(0));
blockDeviceSuite('opened raw file, volatile', opened(0, { volatile: true }));
blockDeviceSuite('overlay on a raw base', opened(1));
blockDeviceSuite('overlay on two overlays', opened(3));
blockDeviceSuite('overlay, volatile', opened(1, { volatile: true }));
readOnlySuite('opened raw file, read-only', opened(0, { readOnly: true }));
readOnlySuite('opened raw file, read-only, cached', opened(0, { readOnly: true }, true));
readOnlySuite('overlay, read-only', opened(2, { readOnly: true }));
readOnlySuite('overlay, read-only, cached', opened(2, { readOnly: true }, true));

/** A disk that is shared, when others read it and let go of it meanwhile. */
readOnlySuite('shared raw file', () =>
  inFolder(async (home) => {
    const pool = new BasePool();
    const source = await chain(home, 0, numberedContent(SIZE_BYTES));
    const other = await openDisk(source, { readOnly: true }, pool);
    const device = await openDisk(source, { readOnly: true }, pool);
    await asked((done) => other.close(done));
    return { device };
  }),
);

readOnlySuite('ISO: raw with 2048-byte blocks', () =>
  inFolder(async (home) => {
    const path = join(home, 'a.iso');
    writeFileSync(path, numberedContent(SIZE_BYTES));
    const source: DiskSource = { kind: 'raw', path, blockBytes: 2048 };
    return { device: await openDisk(source, { readOnly: true }, new BasePool()) };
  }),
);

// ---- filters

blockDeviceSuite('volatile', () =>
  Promise.resolve({
    device: new VolatileDevice(new MemoryDevice({ sizeBytes: SIZE_BYTES })),
    cleanUp: nothing,
  }),
);

const FILTERS: Readonly<Record<string, (inner: MemoryDevice) => BlockDevice>> = {
  memory: (d) => d,
  counter: (d) => new CounterDevice(d),
  error: (d) => new ErrorDevice(d, () => null),
  delay: (d) => new DelayDevice(d, systemClock, { readMs: 1 }),
  cache: (d) => new CachedDevice(d, new HotBlocks(MIB)),
  'cache on a slow disk': (d) =>
    new CachedDevice(new DelayDevice(d, systemClock, { readMs: 1 }), new HotBlocks(4 * MIB)),
  'cache of a whole disk': (d) => new CachedDevice(d, new HotBlocks(2 * SIZE_BYTES)),
};

for (const [name, wrap] of Object.entries(FILTERS)) {
  readOnlySuite(`${name}, read-only`, () => {
    const memory = new MemoryDevice({ sizeBytes: SIZE_BYTES, readOnly: true });
    memory.load(numberedContent(SIZE_BYTES));
    return Promise.resolve({ device: wrap(memory), cleanUp: nothing });
  });
}

const GUARDS: Readonly<Record<string, (inner: BlockDevice) => BlockDevice>> = {
  'readonly filter': (d) => new ReadOnlyDevice(d),
  'readonly filter on a slice': (d) => new ReadOnlyDevice(new SliceDevice(d, 0, 4 * MIB)),
};

for (const [name, wrap] of Object.entries(GUARDS)) {
  readOnlySuite(name, async () => {
    const memory = new MemoryDevice({ sizeBytes: SIZE_BYTES });
    await writeBytes(memory, 0, numberedContent(SIZE_BYTES));
    return { device: wrap(memory), cleanUp: nothing };
  });
}
