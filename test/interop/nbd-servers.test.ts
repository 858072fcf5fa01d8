/** Our NBD client against the servers that people have: qemu-nbd and nbdkit. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { BasePool, createQcow2, openDisk, openNbd } from '#block/mod.ts';
import type { BlockDevice, NbdOptions } from '#block/mod.ts';
import {
  asked,
  blockDeviceSuite,
  kindIs,
  readBytes,
  writeBytes,
} from '../conformance/block-device.ts';
import type { Subject } from '../conformance/block-device.ts';
import { freePort } from '../lab/free-port.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 16 * MIB;

type Home = { readonly path: string; readonly remove: () => void };

function home(): Home {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-nbd-'));
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}

const ended = (device: BlockDevice): Promise<void> =>
  asked((done) => {
    device.close(done);
  });

const flushed = (device: BlockDevice): Promise<void> =>
  asked((done) => {
    device.flush(done);
  });

/** Connects as soon as the server listens: it says nothing when it does. */
async function whenUp(
  server: Running,
  url: string,
  options: NbdOptions = {},
): Promise<BlockDevice> {
  for (;;) {
    try {
      return await openNbd(url, options);
    } catch (e) {
      if (!(e instanceof EnvironmentError) || !server.running) {
        await server.stop();
        throw new Error(`${server.name}: ${String(e)}\n${server.output}`, { cause: e });
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function qemuNbd(socket: readonly string[], format: string, file: string): Running {
  const common = ['--persistent', '--shared=8', '--discard=unmap', '-x', 'disk'];
  return new Running('qemu-nbd', [...common, ...socket, '-f', format, file]);
}

async function qemuSubject(way: 'unix' | 'tcp', format: 'raw' | 'qcow2'): Promise<Subject> {
  const dir = home();
  const file = join(dir.path, 'disk');
  await run('qemu-img', ['create', '-q', '-f', format, file, String(SIZE_BYTES)]);
  const port = await freePort();
  const path = join(dir.path, 'nbd.sock');
  const socket = way === 'unix' ? ['-k', path] : ['-b', '127.0.0.1', '-p', String(port)];
  const server = qemuNbd(socket, format, file);
  const url = way === 'unix' ? `nbd+unix:///disk?socket=${path}` : `nbd://127.0.0.1:${port}/disk`;
  const device = await whenUp(server, url);
  return {
    device,
    cleanUp: async () => {
      await server.stop();
      if (format === 'qcow2') await run('qemu-img', ['check', '-q', file]);
      dir.remove();
    },
  };
}

async function nbdkitSubject(args: readonly string[], options: NbdOptions = {}): Promise<Subject> {
  const dir = home();
  const path = join(dir.path, 'nbd.sock');
  const server = new Running('nbdkit', ['--foreground', '--unix', path, ...args]);
  const device = await whenUp(server, `nbd+unix:///?socket=${path}`, options).catch(
    (e: unknown) => {
      dir.remove(); // a server that is refused on purpose leaves nothing either
      throw e;
    },
  );
  return {
    device,
    cleanUp: async () => {
      await server.stop();
      dir.remove();
    },
  };
}

const QEMU = { tools: ['qemu-nbd', 'qemu-img'] };
const NBDKIT = { tools: ['nbdkit'] };
const SIZE = `size=${SIZE_BYTES}`;

for (const way of ['unix', 'tcp'] as const) {
  for (const format of ['raw', 'qcow2'] as const) {
    blockDeviceSuite(`qemu-nbd, ${format}, ${way}`, () => qemuSubject(way, format), QEMU);
  }
}
blockDeviceSuite('nbdkit memory', () => nbdkitSubject(['memory', SIZE]), NBDKIT);
blockDeviceSuite(
  'nbdkit without structured replies and zeroes',
  () => nbdkitSubject(['--no-sr', '--filter=nozero', 'memory', SIZE, 'zeromode=none']),
  NBDKIT,
);
blockDeviceSuite(
  'nbdkit, slow, blocks of 4096 to 64 KiB',
  () =>
    nbdkitSubject([
      '--filter=delay',
      '--filter=blocksize-policy',
      'memory',
      SIZE,
      'rdelay=2ms',
      'wdelay=2ms',
      'blocksize-minimum=4096',
      'blocksize-preferred=16384',
      'blocksize-maximum=65536',
      'blocksize-error-policy=error',
    ]),
  NBDKIT,
);

/** nbdkit with these arguments for one test. */
async function nbdkit(
  t: TestContext,
  args: readonly string[],
  options: NbdOptions = {},
): Promise<BlockDevice> {
  const { device, cleanUp } = await nbdkitSubject(args, options);
  t.after(async () => {
    await asked((done) => {
      device.close(() => {
        done(null); // a disk that failed on purpose says so when it closes
      });
    });
    await cleanUp();
  });
  return device;
}

test('nbdkit_error: EIO, ENOSPC and EPERM by the error filter', async (t) => {
  if (!need(t, { tools: ['nbdkit'] })) return;
  const kinds = { EIO: 'io', ENOSPC: 'no-space', EPERM: 'read-only' } as const;
  for (const [error, kind] of Object.entries(kinds)) {
    const rate = ['error-pwrite-rate=100%', 'error-pread-rate=100%'];
    const filter = ['--filter=error', 'memory', 'size=1M', `error=${error}`, ...rate];
    const device = await nbdkit(t, filter);
    await assert.rejects(readBytes(device, 0, 512), kindIs(kind));
    await assert.rejects(writeBytes(device, 0, Buffer.alloc(512)), kindIs(kind));
    await flushed(device);
  }
});

test('nbdkit_shutdown: ESHUTDOWN fails a writer for good', async (t) => {
  if (!need(t, { tools: ['nbdkit'] })) return;
  const error = ['error=ESHUTDOWN', 'error-pwrite-rate=100%'];
  const device = await nbdkit(t, ['--filter=error', 'memory', 'size=1M', ...error]);
  await readBytes(device, 0, 512);
  await assert.rejects(writeBytes(device, 0, Buffer.alloc(512)), kindIs('failed'));
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
});

test('nbdkit_no-flush is refused for a disk that lasts', async (t) => {
  if (!need(t, { tools: ['nbdkit'] })) return;
  const script = ['eval', 'get_size=echo 1M', 'pread=dd if=/dev/zero count=$3 iflag=count_bytes'];
  const noFlush = [...script, 'can_write=exit 0', 'pwrite=cat >/dev/null', 'can_flush=exit 3'];
  await assert.rejects(
    nbdkitSubject(noFlush),
    /nbd-volatile|cannot be written as a disk that lasts/,
  );
  await readBytes(await nbdkit(t, noFlush, { readOnly: true }), 0, 512);
});

test('qemu_read-only, a wrong name and no server at all are told in words', async (t) => {
  if (!need(t, { tools: ['qemu-nbd'] })) return;
  const dir = home();
  const file = join(dir.path, 'disk');
  writeFileSync(file, Buffer.alloc(MIB, 3));
  const path = join(dir.path, 's');
  const socket = ['-k', path, '--read-only'];
  const server = qemuNbd(socket, 'raw', file);
  t.after(async () => {
    await server.stop();
    dir.remove();
  });
  const device = await whenUp(server, `nbd+unix:///disk?socket=${path}`, { readOnly: true });
  assert.equal((await readBytes(device, 0, 512))[0], 3);
  await ended(device);
  const code = (wanted: string) => (e: unknown) =>
    (e instanceof UserError || e instanceof EnvironmentError) && e.code === wanted;
  await assert.rejects(openNbd(`nbd+unix:///disk?socket=${path}`), code('nbd-read-only'));
  await assert.rejects(openNbd(`nbd+unix:///other?socket=${path}`), code('nbd-export'));
  await assert.rejects(openNbd(`nbd+unix:///disk?socket=${path}x`), code('nbd-unreachable'));
});

test('qemu_kill: qemu-nbd dies while it writes and comes back, nothing answered is lost', async (t) => {
  if (!need(t, { tools: ['qemu-nbd'] })) return;
  const dir = home();
  const file = join(dir.path, 'disk');
  writeFileSync(file, '');
  truncateSync(file, SIZE_BYTES);
  const path = join(dir.path, 's');
  const start = (): Running => qemuNbd(['-k', path], 'raw', file);
  let server = start();
  const device = await whenUp(server, `nbd+unix:///disk?socket=${path}`);
  t.after(dir.remove);
  const want = Buffer.alloc(SIZE_BYTES);
  for (let round = 1; round <= 4; round++) {
    const writes = Array.from({ length: 64 }, (_, i) => {
      const block = Buffer.alloc(65_536, round * 64 + i);
      const offset = ((i * 7 + round) % 256) * 65_536;
      block.copy(want, offset);
      return writeBytes(device, offset, block);
    });
    await writes[0];
    await server.stop('SIGKILL');
    rmSync(path, { force: true });
    server = start();
    await Promise.all(writes);
    if (round % 2 === 0) await flushed(device);
  }
  assert.ok((await readBytes(device, 0, SIZE_BYTES)).equals(want));
  await ended(device);
  await server.stop();
  assert.ok(readFileSync(file).equals(want));
});

test('qemu_stop: a stopped server is a disk that waits, not one that fails', async (t) => {
  if (!need(t, { tools: ['qemu-nbd'] })) return;
  const dir = home();
  const file = join(dir.path, 'disk');
  writeFileSync(file, Buffer.alloc(MIB, 3));
  const path = join(dir.path, 's');
  const server = qemuNbd(['-k', path], 'raw', file);
  const device = await whenUp(server, `nbd+unix:///disk?socket=${path}`);
  t.after(async () => {
    await ended(device);
    await server.stop();
    dir.remove();
  });
  server.child.kill('SIGSTOP');
  const writing = writeBytes(device, 0, Buffer.alloc(4096, 9));
  const reading = readBytes(device, 8192, 4096);
  server.child.kill('SIGCONT');
  await writing;
  assert.ok((await reading).every((b) => b === 3));
  assert.equal((await readBytes(device, 0, 512))[0], 9);
});

test('qemu_base: overlays on an NBD base share it, and outlive the end of its server', async (t) => {
  if (!need(t, { tools: ['qemu-nbd'] })) return;
  const dir = home();
  t.after(dir.remove);
  const file = join(dir.path, 'base');
  writeFileSync(file, Buffer.alloc(SIZE_BYTES, 3));
  const path = join(dir.path, 's');
  const start = (): Running => qemuNbd(['-k', path, '--read-only'], 'raw', file);
  let server = start();
  const backing = { kind: 'nbd', url: `nbd+unix:///disk?socket=${path}` } as const;
  await ended(await whenUp(server, backing.url, { readOnly: true }));
  const pool = new BasePool();
  const disks: BlockDevice[] = [];
  for (const name of ['a', 'b']) {
    const overlay = join(dir.path, name);
    const written = { file: 'base', format: 'raw' } as const;
    await createQcow2(overlay, { sizeBytes: SIZE_BYTES, backing: written });
    disks.push(await openDisk({ kind: 'qcow2', path: overlay, backing }, {}, pool));
  }
  assert.equal(pool.size, 1);
  const [a, b] = disks;
  assert.ok(a !== undefined && b !== undefined);
  await writeBytes(a, 0, Buffer.alloc(4096, 1));
  assert.equal((await readBytes(a, 4096, 4096))[0], 3);
  await server.stop('SIGKILL');
  rmSync(path, { force: true });
  const kept = await readBytes(b, 4096, 4096);
  assert.equal(kept[0], 3, 'what another overlay read is in memory, though nobody serves it');
  const reading = readBytes(b, MIB, MIB);
  await writeBytes(b, 0, Buffer.alloc(4096, 2));
  server = start();
  assert.ok((await reading).every((byte) => byte === 3));
  assert.deepEqual([(await readBytes(a, 0, 512))[0], (await readBytes(b, 0, 512))[0]], [1, 2]);
  await Promise.all(disks.map(ended));
  assert.equal(pool.size, 0);
  await server.stop();
});
