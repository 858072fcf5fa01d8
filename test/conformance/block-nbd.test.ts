import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { BlockError } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { asked, blockDeviceSuite, kindIs, readBytes, writeBytes } from './block-device.ts';
import type { Subject } from './block-device.ts';
import {
  BLOCK_STATUS,
  DISCONNECT,
  EIO,
  ENOSPC,
  ESHUTDOWN,
  FLUSH,
  FUA,
  READ,
  ScriptedServer,
  WRITE,
  WRITE_ZEROES,
  openScripted,
  settled,
} from './block-nbd-server.ts';
import type { SeenRequest, ServerConnection } from './block-nbd-server.ts';

const MIB = 1024 * 1024;
const nothing = (): Promise<void> => Promise.resolve();

function flush(d: BlockDevice): Promise<void> {
  return asked((done) => {
    d.flush(done);
  });
}

/** Keeps the end of a call: null while it is under way. */
function outcome(call: Promise<unknown>): { value: 'ok' | BlockError | null } {
  const result: { value: 'ok' | BlockError | null } = { value: null };
  call.then(
    () => {
      result.value = 'ok';
    },
    (e: unknown) => {
      assert.ok(e instanceof BlockError);
      result.value = e;
    },
  );
  return result;
}

function failedWith(result: { value: 'ok' | BlockError | null }, kind: BlockError['kind']): void {
  assert.ok(result.value instanceof BlockError, `ended: ${String(result.value)}`);
  assert.equal(result.value.kind, kind);
}

const pattern = (length: number, fill: number): Buffer => Buffer.alloc(length, fill);

async function scripted(structured: boolean): Promise<Subject> {
  const server = new ScriptedServer(8 * MIB);
  server.structured = structured;
  return { device: (await openScripted(server)).device, cleanUp: nothing };
}

blockDeviceSuite('NBD, structured replies', () => scripted(true));
blockDeviceSuite('NBD, simple replies', () => scripted(false));

blockDeviceSuite(
  'NBD, 4096-byte blocks, short requests, no zeroes, FUA without flush',
  async () => {
    const server = new ScriptedServer(8 * MIB);
    server.block = { minimum: 4096, preferred: 65_536, maximum: 65_536 };
    server.flags = 1 | 8;
    return { device: (await openScripted(server)).device, cleanUp: nothing };
  },
);

test('nbd_crash: writes that were answered and not flushed are sent again, in their order', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device, clock } = await openScripted(server);
  await writeBytes(device, 0, pattern(4096, 1));
  await flush(device);
  await writeBytes(device, 4096, pattern(8192, 2));
  await writeBytes(device, 8192, pattern(8192, 3));
  await asked((done) => {
    device.discard(4096, 512, done);
  });
  const want = Buffer.from(server.cache);
  const writesBefore = server.count(WRITE);
  server.crash();
  assert.ok(!server.cache.equals(want), 'the crash has lost something');
  clock.advance(1000);
  await settled();
  assert.ok(server.cache.equals(want));
  assert.equal(server.count(WRITE) - writesBefore, 2, 'only what no flush covered');
  assert.ok((await readBytes(device, 0, 32_768)).equals(want.subarray(0, 32_768)));
  await flush(device);
  assert.equal(device.unflushedBytes, 0);
  server.crash();
  assert.ok(server.cache.equals(want));
});

test('nbd_crash with calls under way: each is sent again and answered once', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device, clock } = await openScripted(server);
  server.handler = () => true; // the process hangs, then dies
  const into = Buffer.alloc(4096);
  const calls = [
    asked((done) => {
      device.write(0, pattern(4096, 1), 0, 4096, done);
    }),
    asked((done) => {
      device.write(0, pattern(4096, 2), 0, 4096, done);
    }),
    asked((done) => {
      device.read(MIB, into, 0, 4096, done);
    }),
    flush(device),
  ];
  await settled();
  server.cache.fill(9, MIB, 2 * MIB);
  server.durable.fill(9, MIB, 2 * MIB);
  server.crash();
  server.handler = () => false;
  clock.advance(1000);
  await Promise.all(calls);
  assert.ok(server.cache.subarray(0, 4096).equals(pattern(4096, 2)), 'the later one won');
  assert.ok(into.equals(pattern(4096, 9)));
});

test('nbd_hang: a silent server is left when only reads are under way', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device, clock } = await openScripted(server, { stallMs: 15_000 });
  server.cache.fill(7);
  server.handler = (r) => r.command === READ;
  const reading = readBytes(device, 0, 4096);
  await settled();
  server.handler = () => false;
  clock.advance(14_000);
  await settled();
  assert.equal(server.connections.length, 1);
  clock.advance(3000);
  assert.ok((await reading).equals(pattern(4096, 7)));
  assert.equal(server.connections.length, 2);
});

test('nbd_hang with a write: nobody knows when it lands, so the disk fails and sends no more', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device, clock } = await openScripted(server, { holdMs: 45_000 });
  server.handler = (r) => r.command === WRITE;
  const writing = outcome(writeBytes(device, 0, pattern(4096, 1)));
  await settled();
  clock.advance(44_000);
  await settled();
  assert.equal(writing.value, null);
  clock.advance(2000);
  await settled();
  failedWith(writing, 'failed');
  const before = server.requests.length;
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
  await assert.rejects(flush(device), kindIs('failed'));
  clock.advance(100_000);
  await settled();
  assert.equal(server.requests.length, before);
  assert.equal(server.connections.length, 1, 'nobody came back');
});

test('nbd_away: calls are held, then gone; unflushed writes wait for the server', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device, clock } = await openScripted(server, { holdMs: 45_000 });
  await writeBytes(device, 0, pattern(4096, 5));
  server.listening = false;
  server.crash();
  const held = [
    outcome(readBytes(device, 0, 512)),
    outcome(writeBytes(device, 512, pattern(512, 6))),
  ];
  for (let s = 0; s < 44; s++) {
    clock.advance(1000);
    await settled();
  }
  assert.deepEqual(
    held.map((h) => h.value),
    [null, null],
  );
  clock.advance(3000);
  await settled();
  for (const h of held) failedWith(h, 'gone');
  const late = outcome(readBytes(device, 0, 512));
  await settled();
  failedWith(late, 'gone');
  server.listening = true;
  clock.advance(10_000);
  await settled();
  assert.ok((await readBytes(device, 0, 4096)).equals(pattern(4096, 5)));
  assert.equal(server.cache[512], 5, 'what was answered gone is not written later');
});

test('nbd_bound: unflushed writes never take more memory than allowed; a flush makes room', async () => {
  const server = new ScriptedServer(8 * MIB);
  const unflushedBytesMax = 256 * 1024;
  const { device } = await openScripted(server, { unflushedBytesMax });
  const most = { bytes: 0 };
  server.handler = () => {
    most.bytes = Math.max(most.bytes, device.unflushedBytes);
    return false;
  };
  await Promise.all(
    Array.from({ length: 64 }, (_, i) => writeBytes(device, i * 65_536, pattern(65_536, i + 1))),
  );
  assert.ok(most.bytes > 0 && most.bytes <= unflushedBytesMax, `${most.bytes}`);
  assert.ok(server.count(FLUSH) >= 64 / 3 - 1);
  for (let i = 0; i < 64; i++) assert.equal(server.cache[i * 65_536], i + 1);
});

test('nbd_bound: while a write that fills the memory is not answered, nobody flushes for room', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server, { unflushedBytesMax: 8192 });
  const kept: [SeenRequest, ServerConnection][] = [];
  server.handler = (r, c) => {
    if (r.command !== WRITE || kept.length > 0) return false;
    kept.push([r, c]);
    return true;
  };
  const writes = [0, 8192].map((at) => writeBytes(device, at, pattern(8192, 1)));
  await settled();
  assert.equal(server.count(FLUSH), 0);
  for (const [r, c] of kept) server.serve(r, c);
  await Promise.all(writes);
  assert.equal(server.count(FLUSH), 1);
});

test('nbd_order: replies in any order reach their calls', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device } = await openScripted(server);
  for (let i = 0; i < 16; i++) server.cache.fill(i + 1, i * 4096, (i + 1) * 4096);
  const kept: [SeenRequest, ServerConnection][] = [];
  server.handler = (r, c) => {
    kept.push([r, c]);
    return true;
  };
  const reads = Array.from({ length: 16 }, (_, i) => readBytes(device, i * 4096, 4096));
  await settled();
  assert.equal(kept.length, 16);
  for (const [r, c] of kept.toReversed()) server.serve(r, c);
  for (const [i, bytes] of (await Promise.all(reads)).entries()) {
    assert.ok(bytes.equals(pattern(4096, i + 1)));
  }
});

test('nbd_pieces: a read in chunks and holes, in any order, is put together', async () => {
  const server = new ScriptedServer(4 * MIB);
  const { device } = await openScripted(server);
  server.handler = (r, c) => {
    if (r.command !== READ) return false;
    const hole = Buffer.alloc(12);
    hole.writeBigUInt64BE(BigInt(r.offset + 1024), 0);
    hole.writeUInt32BE(1024, 8);
    c.dataChunk(r, 3072, pattern(1024, 4), false);
    c.dataChunk(r, 0, pattern(1024, 1), false);
    c.chunk(r, 2, hole, false);
    c.dataChunk(r, 2048, pattern(1024, 3), false);
    c.chunk(r, 0, Buffer.alloc(0));
    return true;
  };
  const into = Buffer.alloc(4096, 0xee);
  await asked((done) => {
    device.read(8192, into, 0, 4096, done);
  });
  const want = Buffer.concat([1, 0, 3, 4].map((fill) => pattern(1024, fill)));
  assert.ok(into.equals(want));
});

/** What a hostile server can say to a read of 4096 bytes; none of it may be believed. */
const LIES: Readonly<Record<string, (r: SeenRequest, c: ServerConnection) => void>> = {
  'no magic': (_, c) => c.send(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')),
  'a cookie nobody has': (r, c) =>
    c.dataChunk({ ...r, cookie: Buffer.alloc(8, 0xff) }, 0, pattern(4096, 6), true),
  'a cookie of an earlier turn': (r, c) => {
    const cookie = Buffer.from(r.cookie);
    cookie.writeUInt32BE(cookie.readUInt32BE(0) - 1, 0);
    c.dataChunk({ ...r, cookie }, 0, pattern(4096, 6), true);
  },
  'fewer bytes': (r, c) => c.dataChunk(r, 0, pattern(2048, 6), true),
  'a gap': (r, c) => {
    c.dataChunk(r, 0, pattern(1024, 6), false);
    c.dataChunk(r, 2048, pattern(2048, 6), true);
  },
  'bytes twice': (r, c) => {
    c.dataChunk(r, 0, pattern(2048, 6), false);
    c.dataChunk(r, 1024, pattern(2048, 6), true);
  },
  'bytes behind the end': (r, c) => c.dataChunk(r, 2048, pattern(4096, 6), true),
  'bytes before the start': (r, c) => c.dataChunk(r, -512, pattern(512, 6), true),
  'a giant chunk': (r, c) => {
    const header = Buffer.alloc(20);
    header.writeUInt32BE(0x668e33ef, 0);
    header.writeUInt16BE(1, 6);
    r.cookie.copy(header, 8);
    header.writeUInt32BE(0xffff_ffff, 16);
    c.send(header);
  },
  'a giant error': (r, c) => {
    const header = Buffer.alloc(20);
    header.writeUInt32BE(0x668e33ef, 0);
    header.writeUInt16BE(0x8001, 6);
    r.cookie.copy(header, 8);
    header.writeUInt32BE(0x7fff_ffff, 16);
    c.send(header);
  },
  'a giant hole': (r, c) => {
    const hole = Buffer.alloc(12);
    hole.writeBigUInt64BE(BigInt(r.offset), 0);
    hole.writeUInt32BE(0xffff_ffff, 8);
    c.chunk(r, 2, hole);
  },
  'success without data': (r, c) => c.reply(r, 0),
  'an end without data': (r, c) => c.chunk(r, 0, Buffer.alloc(0)),
  'an unknown chunk': (r, c) => c.chunk(r, 77, Buffer.alloc(4)),
  'a state where data was asked': (r, c) => c.extents(r, [4096, 0]),
  'an error of 0': (r, c) => c.chunk(r, 0x8001, Buffer.alloc(6)),
};

for (const [lie, tell] of Object.entries(LIES)) {
  test(`nbd_lie: ${lie}, and the read is asked again`, async () => {
    const server = new ScriptedServer(MIB);
    const { device, clock } = await openScripted(server);
    server.cache.fill(8);
    server.handler = (r, c) => {
      if (r.command !== READ) return false;
      tell(r, c);
      return true;
    };
    const reading = outcome(readBytes(device, 512, 4096).then((b) => assert.equal(b[4095], 8)));
    await settled();
    assert.equal(reading.value, null);
    server.handler = () => false;
    clock.advance(1000);
    await settled();
    assert.equal(reading.value, 'ok');
    assert.equal(server.connections.length, 2);
  });
}

test('nbd_lie with a write under way fails the disk', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server);
  server.handler = (r, c) => {
    if (r.command === WRITE) c.reply({ ...r, cookie: Buffer.alloc(8) }, 0);
    return r.command === WRITE;
  };
  await assert.rejects(writeBytes(device, 0, pattern(512, 1)), kindIs('failed'));
});

test('nbd_errors: EIO, ENOSPC, EPERM and unknown ones reach their call and nothing else', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server);
  const kinds = [
    [EIO, 'io'],
    [ENOSPC, 'no-space'],
    [1, 'read-only'],
    [22, 'io'],
    [9999, 'io'],
  ] as const;
  for (const [error, kind] of kinds) {
    server.handler = (r, c) => {
      if (r.offset !== 4096) return false;
      c.error(r, error);
      return true;
    };
    await assert.rejects(readBytes(device, 4096, 512), kindIs(kind));
    await assert.rejects(writeBytes(device, 4096, pattern(512, 1)), kindIs(kind));
    await writeBytes(device, 0, pattern(512, 1));
    await flush(device);
  }
  assert.equal(server.connections.length, 1);
});

test('nbd_fenced: ESHUTDOWN fails a writer for good, nothing is sent again (hostile case 46)', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  server.handler = (r, c) => {
    c.error(r, ESHUTDOWN);
    return true;
  };
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
  const before = server.requests.length;
  server.handler = () => false;
  await assert.rejects(writeBytes(device, 0, pattern(512, 2)), kindIs('failed'));
  await assert.rejects(flush(device), kindIs('failed'));
  clock.advance(1_000_000);
  await settled();
  assert.equal(server.requests.length, before);
  assert.equal(server.connections.length, 1);
});

test('nbd_fenced: a reader has nothing to lose and comes again', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server, { readOnly: true });
  server.handler = (r, c) => {
    c.error(r, ESHUTDOWN);
    return true;
  };
  const reading = outcome(readBytes(device, 0, 512));
  await settled();
  server.handler = () => false;
  clock.advance(1000);
  await settled();
  assert.equal(reading.value, 'ok');
});

test('nbd_flush: one that fails makes the disk fail for good', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  server.handler = (r, c) => {
    if (r.command === FLUSH) c.error(r, EIO);
    return r.command === FLUSH;
  };
  await assert.rejects(flush(device), kindIs('io'));
  server.handler = () => false;
  await assert.rejects(flush(device), kindIs('failed'));
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
});

test('nbd_replay: writes to one place go one after another, others together', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server);
  await writeBytes(device, 0, pattern(4096, 1));
  await writeBytes(device, 8192, pattern(4096, 2));
  await writeBytes(device, 2048, pattern(4096, 3));
  const kept: [SeenRequest, ServerConnection][] = [];
  server.handler = (r, c) => {
    if (r.command === WRITE) kept.push([r, c]);
    return r.command === WRITE;
  };
  server.crash();
  clock.advance(1000);
  await settled();
  assert.deepEqual(
    kept.map(([r]) => r.offset),
    [0, 8192],
  );
  for (const [r, c] of kept.splice(0)) server.serve(r, c);
  await settled();
  assert.deepEqual(
    kept.map(([r]) => r.offset),
    [2048],
  );
});

test('nbd_replay that the server refuses fails the disk', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  server.handler = (r, c) => {
    if (r.command === WRITE) c.error(r, ENOSPC);
    return r.command === WRITE;
  };
  server.crash();
  clock.advance(1000);
  await settled();
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
});

const CHANGES: Readonly<Record<string, (s: ScriptedServer) => void>> = {
  smaller: (s) => {
    s.cache = s.cache.subarray(0, MIB / 2);
    s.durable = s.durable.subarray(0, MIB / 2);
  },
  'read-only': (s) => (s.flags |= 2),
  'unable to flush': (s) => (s.flags &= ~4),
  'unable to write zeros': (s) => (s.flags &= ~64),
  'with larger blocks': (s) => (s.block = { ...s.block, minimum: 4096 }),
  'with shorter requests': (s) => (s.block = { ...s.block, maximum: 4096 }),
};

for (const [change, make] of Object.entries(CHANGES)) {
  test(`nbd_change: an export that comes back ${change} fails the disk`, async () => {
    const server = new ScriptedServer(MIB);
    const { device, clock } = await openScripted(server);
    server.crash();
    make(server);
    clock.advance(1000);
    await settled();
    await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
    assert.equal(server.requests.filter((r) => r.command !== BLOCK_STATUS).length, 0);
  });
}

test('nbd_volatile: no flush is refused for a disk that lasts, and taken where told so', async () => {
  const server = new ScriptedServer(MIB);
  server.flags = 1 | 64;
  await assert.rejects(
    openScripted(server),
    (e) => e instanceof UserError && e.code === 'nbd-volatile',
  );
  const reader = await openScripted(server, { readOnly: true });
  await readBytes(reader.device, 0, 512);
  const { device, clock } = await openScripted(server, { volatile: true, unflushedBytesMax: 8192 });
  await writeBytes(device, 0, pattern(512, 1));
  await flush(device);
  server.crash();
  clock.advance(1000);
  await settled();
  assert.equal((await readBytes(device, 0, 512))[0], 1, 'still sent again while it is remembered');
  for (let i = 0; i < 8; i++) await writeBytes(device, i * 4096, pattern(4096, 2));
  assert.ok(device.unflushedBytes <= 8192);
  server.crash();
  await settled();
  await assert.rejects(readBytes(device, 0, 512), kindIs('failed'));
});

test('nbd_fua: without flush each write and zero is durable by itself', async () => {
  const server = new ScriptedServer(MIB);
  server.flags = 1 | 8 | 64;
  const { device } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  await asked((done) => {
    device.writeZeroes(4096, 512, done);
  });
  await flush(device);
  assert.equal(server.count(FLUSH), 0);
  const changes = server.requests.filter((r) => r.command === WRITE || r.command === WRITE_ZEROES);
  assert.ok(changes.length === 2 && changes.every((r) => (r.flags & FUA) !== 0));
  assert.equal(device.unflushedBytes, 0);
});

test('nbd_read-only exports are refused to a writer, in words', async () => {
  const server = new ScriptedServer(MIB);
  server.flags |= 2;
  await assert.rejects(openScripted(server), (e) => {
    assert.ok(e instanceof UserError);
    assert.equal(e.code, 'nbd-read-only');
    return true;
  });
  const { device } = await openScripted(server, { readOnly: true });
  assert.throws(() => device.tryWrite(0, Buffer.alloc(512), 0, 512), kindIs('read-only'));
});

test('nbd_blocks: a server with blocks of 64 KiB or an odd size is refused, 4096 is shown', async () => {
  const server = new ScriptedServer(MIB);
  server.block = { minimum: 65_536, preferred: 65_536, maximum: MIB };
  await assert.rejects(openScripted(server), UserError);
  server.block = { minimum: 4096, preferred: 8192, maximum: MIB };
  const { device } = await openScripted(server);
  assert.deepEqual([device.blockBytes, device.physicalBlockBytes], [4096, 8192]);
  server.cache = Buffer.alloc(MIB + 100);
  await assert.rejects(openScripted(server), /no multiple of the block size/);
});

test('nbd_rescan: a larger export is taken over, without losing unflushed writes', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  const grown = Buffer.alloc(2 * MIB);
  server.cache.copy(grown);
  server.cache = grown;
  server.durable = Buffer.alloc(2 * MIB);
  await asked((done) => {
    device.rescan(done);
  });
  assert.equal(device.sizeBytes, 2 * MIB);
  assert.equal(server.durable[0], 1, 'flushed before the connection was changed');
  await writeBytes(device, 2 * MIB - 512, pattern(512, 2));
  assert.equal((await readBytes(device, 2 * MIB - 512, 512))[0], 2);
});

test('nbd_close flushes what is unflushed and takes leave', async () => {
  const server = new ScriptedServer(MIB);
  const { device } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  await asked((done) => {
    device.close(done);
  });
  await settled();
  assert.equal(server.durable[0], 1);
  assert.equal(server.requests.at(-1)?.command, DISCONNECT);
});

test('nbd_close of a server that is away ends in time and says what is lost', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server);
  await writeBytes(device, 0, pattern(512, 1));
  server.listening = false;
  server.crash();
  const closing = outcome(
    asked((done) => {
      device.close(done);
    }),
  );
  for (let s = 0; s < 50; s++) {
    clock.advance(1000);
    await settled();
  }
  failedWith(closing, 'gone');
});

test('nbd_late: an answer after its call was given up touches no memory', async () => {
  const server = new ScriptedServer(MIB);
  const { device, clock } = await openScripted(server, { holdMs: 20_000, stallMs: 15_000 });
  let lost: SeenRequest | undefined;
  server.handler = (r) => {
    if (r.command !== READ || r.offset !== 0) return false;
    lost = r;
    return true;
  };
  const into = Buffer.alloc(4096, 0xee);
  const reading = outcome(
    asked((done) => {
      device.read(0, into, 0, 4096, done);
    }),
  );
  for (let s = 0; s < 25; s++) {
    await readBytes(device, 8192, 512); // the server is alive, it only forgot one
    clock.advance(1000);
    await settled();
  }
  failedWith(reading, 'gone');
  assert.ok(lost !== undefined);
  server.current.data(lost, pattern(4096, 1));
  assert.ok(into.equals(pattern(4096, 0xee)));
  await readBytes(device, 8192, 512);
  assert.equal(server.connections.length, 1);
});

test('nbd_map: holes the server tells are holes until they are written', async () => {
  const server = new ScriptedServer(4 * MIB);
  server.handler = (r, c) => {
    if (r.command !== BLOCK_STATUS) return false;
    c.extents(r, [MIB, 0, MIB, 3, MIB, 2, 4 * MIB, 3]);
    return true;
  };
  const { device } = await openScripted(server);
  const states = [0, 1, 2, 3].map((i) => device.extentAt(i * MIB, 512).state);
  assert.deepEqual(states, ['data', 'hole', 'data', 'hole']);
  assert.deepEqual(device.extentAt(MIB, 3 * MIB), { lengthBytes: MIB, state: 'hole' });
  await writeBytes(device, MIB + 65_536, pattern(512, 1));
  assert.deepEqual(device.extentAt(MIB, MIB), { lengthBytes: 65_536, state: 'hole' });
});
