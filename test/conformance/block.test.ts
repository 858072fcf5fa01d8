import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { FakeClock, UserError, systemClock } from '#base/mod.ts';
import {
  BlockError,
  CounterDevice,
  CryptDevice,
  DelayDevice,
  EphemeralKey,
  ErrorDevice,
  MemoryDevice,
  RangeLockDevice,
  ReadOnlyDevice,
  SliceDevice,
  openRaw,
} from '#block/mod.ts';
import type { BlockDevice, BlockErrorKind, RawOptions } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { asked, blockDeviceSuite, kindIs, readBytes, writeBytes } from './block-device.ts';
import type { Subject } from './block-device.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 8 * MIB;

const nothing = (): Promise<void> => Promise.resolve();

function memory(blockBytes = 512, sizeBytes = SIZE_BYTES): MemoryDevice {
  return new MemoryDevice({ sizeBytes, blockBytes });
}

function inMemory(wrap: (inner: MemoryDevice) => BlockDevice): () => Promise<Subject> {
  return () => Promise.resolve({ device: wrap(memory()), cleanUp: nothing });
}

function folder(where: string): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(where, 'polyboot-block-'));
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}

function rawIn(where: string, options: RawOptions = {}): () => Promise<Subject> {
  return async () => {
    const home = folder(where);
    const path = join(home.path, 'disk.img');
    writeFileSync(path, '');
    truncateSync(path, SIZE_BYTES);
    const device = await openRaw(path, options);
    return {
      device,
      cleanUp: () => {
        home.remove();
        return Promise.resolve();
      },
    };
  };
}

blockDeviceSuite(
  'memory',
  inMemory((d) => d),
);
blockDeviceSuite('memory, 4096-byte blocks', () =>
  Promise.resolve({ device: memory(4096), cleanUp: nothing }),
);
blockDeviceSuite(
  'counter',
  inMemory((d) => new CounterDevice(d)),
);
blockDeviceSuite(
  'error, none injected',
  inMemory((d) => new ErrorDevice(d, () => null)),
);
blockDeviceSuite(
  'crypt',
  inMemory((d) => new CryptDevice(d, new EphemeralKey())),
);
blockDeviceSuite(
  'lock',
  inMemory((d) => new RangeLockDevice(d)),
);
blockDeviceSuite(
  'delay',
  inMemory((d) => new DelayDevice(d, systemClock, { readMs: 0, writeMs: 0, flushMs: 0 })),
);
blockDeviceSuite(
  'slice',
  inMemory((d) => new SliceDevice(d, MIB, 6 * MIB)),
);
blockDeviceSuite('raw file', rawIn(tmpdir()));
blockDeviceSuite('raw file, 2048-byte blocks', rawIn(tmpdir(), { blockBytes: 2048 }));
blockDeviceSuite('raw file in memory', rawIn('/dev/shm'));

test('raw block device: the suite passes on a loop device', async (t) => {
  if (!need(t, { root: true, tools: ['losetup'] })) return;
  const home = folder(tmpdir());
  const path = join(home.path, 'loop.img');
  writeFileSync(path, '');
  truncateSync(path, SIZE_BYTES);
  const loop = (await run('losetup', ['--find', '--show', path])).trim();
  try {
    const device = await openRaw(loop);
    assert.equal(device.sizeBytes, SIZE_BYTES);
    const data = Buffer.alloc(MIB, 0x42);
    await writeBytes(device, MIB, data);
    await asked((done) => {
      device.flush(done);
    });
    await asked((done) => {
      device.discard(MIB, MIB / 2, done);
    });
    data.fill(0, 0, MIB / 2);
    assert.ok((await readBytes(device, MIB, MIB)).equals(data));
    await asked((done) => {
      device.close(done);
    });
  } finally {
    await run('losetup', ['--detach', loop]);
    home.remove();
  }
});

/** A raw file that the test may look at. */
async function rawFile(t: TestContext, options: RawOptions = {}) {
  const home = folder(tmpdir());
  const path = join(home.path, 'disk.img');
  writeFileSync(path, Buffer.alloc(MIB, 1));
  const device = await openRaw(path, options);
  t.after(async () => {
    await asked((done) => {
      device.close(done);
    });
    home.remove();
  });
  return { path, device, home: home.path };
}

test('raw_discard gives space back to the file system', async (t) => {
  const { path, device } = await rawFile(t);
  const before = statSync(path).blocks;
  assert.equal(device.canDiscard, true);
  await asked((done) => {
    device.discard(0, MIB / 2, done);
  });
  assert.ok(statSync(path).blocks < before);
  assert.equal(statSync(path).size, MIB);
});

test('raw_read-only refuses to write, and is shared by readers but not with a writer', async (t) => {
  const { path, device } = await rawFile(t, { readOnly: true });
  assert.throws(() => device.tryWrite(0, Buffer.alloc(512), 0, 512), kindIs('read-only'));
  await assert.rejects(
    asked((done) => {
      device.write(0, Buffer.alloc(512), 0, 512, done);
    }),
    kindIs('read-only'),
  );
  const second = await openRaw(path, { readOnly: true });
  await assert.rejects(openRaw(path), (e) => e instanceof UserError && e.kind === 'conflict');
  await asked((done) => {
    second.close(done);
  });
});

test('raw_lock: one writer, until it closes', async (t) => {
  const { path, device } = await rawFile(t);
  await assert.rejects(openRaw(path), (e) => e instanceof UserError && e.kind === 'conflict');
  await asked((done) => {
    device.close(done);
  });
  const next = await openRaw(path);
  await asked((done) => {
    next.close(done);
  });
});

test('raw_open refuses what is no disk, and says why', async (t) => {
  const { home } = await rawFile(t);
  const refused = (path: string, pattern: RegExp): Promise<void> =>
    assert.rejects(openRaw(path), (e) => e instanceof UserError && pattern.test(e.message));
  writeFileSync(join(home, 'odd.img'), Buffer.alloc(1000));
  writeFileSync(join(home, 'empty.img'), '');
  await run('mkfifo', [join(home, 'fifo')]);
  await refused(join(home, 'odd.img'), /1000 bytes, is no multiple of the block size, 512/);
  await refused(join(home, 'empty.img'), /it is empty/);
  await refused(join(home, 'fifo'), /it is a FIFO/);
  await refused(home, /it is a folder/);
  await refused('/dev/null', /it is a character device/);
  await refused(join(home, 'nowhere.img'), /there is no image/);
});

test('raw_open follows a symbolic link', async (t) => {
  const { path, home, device } = await rawFile(t, { readOnly: true });
  symlinkSync(path, join(home, 'link.img'));
  const linked = await openRaw(join(home, 'link.img'), { readOnly: true });
  assert.equal(linked.sizeBytes, device.sizeBytes);
  await asked((done) => {
    linked.close(done);
  });
});

test('raw_truncated: a file cut short under us is an io error, not zeros', async (t) => {
  const { path, device } = await rawFile(t);
  truncateSync(path, MIB / 2);
  await assert.rejects(readBytes(device, MIB - 4096, 4096), kindIs('io'));
});

test('raw_no-space: ENOSPC is no-space, and what was written before stays', async (t) => {
  if (!need(t, { root: true, tools: ['mount'] })) return;
  const home = folder(tmpdir());
  await run('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', home.path]);
  try {
    const path = join(home.path, 'disk.img');
    writeFileSync(path, '');
    truncateSync(path, 4 * MIB);
    const device = await openRaw(path);
    await writeBytes(device, 0, Buffer.alloc(MIB, 7));
    await assert.rejects(writeBytes(device, MIB, Buffer.alloc(2 * MIB, 8)), kindIs('no-space'));
    assert.ok((await readBytes(device, 0, MIB)).every((b) => b === 7));
    await asked((done) => {
      device.close(done);
    });
  } finally {
    await run('umount', [home.path]);
    home.remove();
  }
});

test('readonly refuses every way to change the disk', async () => {
  const device = new ReadOnlyDevice(memory());
  assert.equal(device.readOnly, true);
  assert.equal(device.canDiscard, false);
  const block = Buffer.alloc(512);
  assert.throws(() => device.tryWrite(0), kindIs('read-only'));
  const ways: ((d: BlockDevice, done: (e: BlockError | null) => void) => void)[] = [
    (d, done) => d.write(0, block, 0, 512, done),
    (d, done) => d.discard(0, 512, done),
    (d, done) => d.writeZeroes(0, 512, done),
  ];
  for (const way of ways) {
    await assert.rejects(
      asked((done) => {
        way(device, done);
      }),
      kindIs('read-only'),
    );
  }
  assert.ok((await readBytes(device, 0, 512)).equals(block));
});

test('error strikes what it is told to, in each operation', async () => {
  const kinds: BlockErrorKind[] = ['io', 'no-space', 'failed', 'gone'];
  for (const kind of kinds) {
    const device = new ErrorDevice(memory(), (_operation, offset) =>
      offset === 512 ? kind : null,
    );
    await assert.rejects(readBytes(device, 512, 512), (e) => {
      assert.ok(e instanceof BlockError);
      assert.equal(e.offsetBytes, 512);
      return kindIs(kind)(e);
    });
    await assert.rejects(writeBytes(device, 512, Buffer.alloc(512)), kindIs(kind));
    await readBytes(device, 0, 512);
  }
});

test('slice errors carry the offset within the slice', async () => {
  const broken = new ErrorDevice(memory(), (operation) => (operation === 'read' ? 'io' : null));
  const device = new SliceDevice(broken, MIB, MIB);
  const offsetIs = (e: unknown): boolean => e instanceof BlockError && e.offsetBytes === 4096;
  assert.throws(() => device.tryRead(4096, Buffer.alloc(512), 0, 512), offsetIs);
  await assert.rejects(
    asked((done) => {
      device.read(4096, Buffer.alloc(512), 0, 512, done);
    }),
    offsetIs,
  );
  assert.throws(() => new SliceDevice(memory(), SIZE_BYTES - MIB, 2 * MIB), UserError);
  assert.throws(() => new SliceDevice(memory(), 100, MIB), UserError);
});

test('crypt: nothing readable below, equal blocks differ, and the key is all there is', async () => {
  const below = memory();
  const device = new CryptDevice(below, new EphemeralKey());
  const data = Buffer.alloc(4096, 'plain text');
  await writeBytes(device, 0, data);
  const raw = await readBytes(below, 0, 4096);
  assert.ok(!raw.includes('plain'));
  assert.ok(!raw.subarray(0, 512).equals(raw.subarray(512, 1024)));
  assert.ok((await readBytes(device, 0, 4096)).equals(data));
  await asked((done) => {
    device.cryptoErase(done);
  });
  assert.ok(!(await readBytes(device, 0, 4096)).includes('plain'));
  assert.ok((await readBytes(device, MIB, 4096)).every((b) => b === 0));
});

test('crypt: the first test vector of IEEE 1619 that has two keys', async () => {
  // Vector 10 (XTS-AES-256): data unit 255 of 512 bytes, plain text 00 01 … ff 00 01 … ff.
  const key = Buffer.from(
    '2718281828459045235360287471352662497757247093699959574966967627' +
      '3141592653589793238462643383279502884197169399375105820974944592',
    'hex',
  );
  const below = memory();
  const device = new CryptDevice(below, { key, replace: (done) => done(null) });
  await writeBytes(device, 255 * 512, Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256)));
  const raw = await readBytes(below, 255 * 512, 512);
  assert.equal(raw.toString('hex', 0, 16), '1c3b3a102f770386e4836c99e370cf9b');
});

test('delay holds calls until their time', async () => {
  const clock = new FakeClock();
  const device = new DelayDevice(memory(), clock, { readMs: 10 });
  const into = Buffer.alloc(512);
  assert.equal(device.tryRead(0, into, 0, 512), false);
  let answered = false;
  const reading = asked((done) => {
    device.read(0, into, 0, 512, done);
  }).then(() => {
    answered = true;
  });
  clock.advance(9);
  await Promise.resolve();
  assert.equal(answered, false);
  clock.advance(1);
  await reading;
});

test('counter counts what reaches the device', async () => {
  const device = new CounterDevice(memory());
  await writeBytes(device, 0, Buffer.alloc(1024));
  await readBytes(device, 0, 512);
  await asked((done) => {
    device.flush(done);
  });
  assert.deepEqual(
    [device.residentWrites, device.writtenBytes, device.residentReads, device.readBytes],
    [1, 1024, 1, 512],
  );
  assert.equal(device.flushes, 1);
});

test('lock: a write waits for the lock of its range, others do not', async () => {
  const device = new RangeLockDevice(memory());
  const order: string[] = [];
  let release = (): void => undefined;
  device.exclusive(4096, 4096, (_inner, r) => {
    release = r;
  });
  const block = Buffer.alloc(512, 1);
  assert.equal(device.tryWrite(0, block, 0, 512), true);
  assert.equal(device.tryWrite(4096, block, 0, 512), false);
  const held = asked((done) => {
    device.write(4096, block, 0, 512, (error) => {
      order.push('write');
      done(error);
    });
  });
  const second = new Promise<void>((resolve) => {
    device.exclusive(4096, 512, (_inner, r) => {
      order.push('second lock');
      r();
      resolve();
    });
  });
  await asked((done) => {
    device.flush(done);
  });
  assert.equal(order.length, 0);
  order.push('release');
  release();
  release();
  await Promise.all([held, second]);
  assert.deepEqual(order, ['release', 'write', 'second lock']);
  assert.equal(device.tryWrite(4096, block, 0, 512), true);
});

test('lock: a lock waits for the write that is under way', async () => {
  const clock = new FakeClock();
  const slow = new DelayDevice(memory(), clock, { writeMs: 5 });
  const device = new RangeLockDevice(slow);
  const order: string[] = [];
  const writing = asked((done) => {
    device.write(0, Buffer.alloc(512, 1), 0, 512, (error) => {
      order.push('written');
      done(error);
    });
  });
  const locking = new Promise<void>((resolve) => {
    device.exclusive(0, 512, (_inner, r) => {
      order.push('locked');
      r();
      resolve();
    });
  });
  assert.equal(order.length, 0);
  clock.advance(5);
  await Promise.all([writing, locking]);
  assert.deepEqual(order, ['written', 'locked']);
});

test('a file that grew behind our back is taken over when asked; one that shrank is not', async (t) => {
  const home = folder(tmpdir());
  t.after(home.remove);
  const path = join(home.path, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, MIB);
  const device = await openRaw(path);
  truncateSync(path, 2 * MIB + 100);
  assert.equal(device.sizeBytes, MIB);
  await asked((done) => {
    device.rescan(done);
  });
  assert.equal(device.sizeBytes, 2 * MIB, 'whole blocks only');
  truncateSync(path, 4 * MIB);
  await asked((done) => {
    device.grow?.(3 * MIB, done);
  });
  assert.equal(statSync(path).size, 4 * MIB, 'to grow it cuts nothing off');
  assert.equal(device.sizeBytes, 4 * MIB);
  truncateSync(path, MIB);
  await asked((done) => {
    device.rescan(done);
  });
  assert.equal(device.sizeBytes, 4 * MIB);
  await assert.rejects(
    asked((done) => {
      device.read(MIB, Buffer.alloc(512), 0, 512, done);
    }),
    kindIs('io'),
  );
  await asked((done) => {
    device.close(done);
  });
});
