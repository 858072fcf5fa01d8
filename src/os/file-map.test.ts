import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { InternalError } from '#base/mod.ts';
import { FileMap, MAP_PAGE_BYTES, readMapped } from './file-map.ts';
import { mappedFile } from './testing/mapped-file.ts';
import { GatherSend, SOCKET_FULL, addressOfBytes } from './gather-send.ts';

const PAGES = 64;
const BYTES: Buffer = Buffer.from(
  Array.from({ length: PAGES * MAP_PAGE_BYTES }, (_, n) => (n * 7 + n / 251) & 255),
);

test('what is in a file is behind the addresses of its map', (t) => {
  const { map } = mappedFile(t, process.cwd(), BYTES);
  const into = Buffer.alloc(5000, 0xee);
  assert.ok(readMapped(map.address + 3000, into, 100, 4000));
  assert.ok(into.subarray(100, 4100).equals(BYTES.subarray(3000, 7000)));
  assert.ok(into.subarray(0, 100).every((b) => b === 0xee));
  assert.ok(into.subarray(4100).every((b) => b === 0xee));
  assert.ok(!readMapped(map.address, into, 1001, 4000), 'not beyond the buffer');
});

test('the kernel says which pages are in memory, and a released range stays so', (t) => {
  const { map } = mappedFile(t, process.cwd(), BYTES);
  const pages = new Uint8Array(PAGES);
  assert.ok(map.resident(0, BYTES.length, pages));
  assert.ok(pages.every((page) => (page & 1) === 1));
  map.release(0, BYTES.length);
  const into = Buffer.alloc(MAP_PAGE_BYTES);
  assert.ok(readMapped(map.address + MAP_PAGE_BYTES, into, 0, MAP_PAGE_BYTES));
  assert.ok(into.equals(BYTES.subarray(MAP_PAGE_BYTES, 2 * MAP_PAGE_BYTES)));
});

test('a file that was cut short: false, and no signal', (t) => {
  const { fd, map } = mappedFile(t, process.cwd(), BYTES);
  ftruncateSync(fd, MAP_PAGE_BYTES);
  const into = Buffer.alloc(MAP_PAGE_BYTES);
  assert.ok(readMapped(map.address, into, 0, MAP_PAGE_BYTES));
  assert.ok(!readMapped(map.address + MAP_PAGE_BYTES, into, 0, MAP_PAGE_BYTES));
});

test('a descriptor that cannot be mapped has no map', () => {
  const fd = openSync('/proc/self/status', 'r');
  assert.equal(FileMap.open(fd, MAP_PAGE_BYTES), null);
  closeSync(fd);
});

/** Both ends of a TCP connection, and the descriptor of the first. */
async function pair(t: TestContext): Promise<{ near: Socket; fd: number; far: Socket }> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new InternalError('a TCP address');
  const far = connect({ host: '127.0.0.1', port: address.port });
  const [near] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  const handle = Reflect.get(near, '_handle') as { readonly fd: number };
  return { near, fd: handle.fd, far };
}

test('pieces of memory and of a file arrive as one message', async (t) => {
  const { map } = mappedFile(t, process.cwd(), BYTES);
  const { fd, far } = await pair(t);
  const head = Buffer.from('a header');
  const tail = Buffer.from('a tail');
  const message = new GatherSend();
  message.add(addressOfBytes(head), head.length);
  message.add(map.address + 100, 9000);
  message.add(addressOfBytes(tail) + 2, tail.length - 2);
  const total = head.length + 9000 + tail.length - 2;
  assert.equal(message.send(fd), total);
  let got = Buffer.alloc(0);
  while (got.length < total) {
    const [bytes] = (await once(far, 'data')) as [Buffer];
    got = Buffer.concat([got, bytes]);
  }
  const expected = Buffer.concat([head, BYTES.subarray(100, 9100), tail.subarray(2)]);
  assert.ok(got.equals(expected));
});

test('a full socket takes a part, then nothing; a closed one is an error, and no signal', async (t) => {
  const { map } = mappedFile(t, process.cwd(), BYTES);
  const { near, fd, far } = await pair(t);
  far.pause();
  const message = new GatherSend();
  let sent = BYTES.length;
  // Behind a part there can be room again: the far side's kernel takes in what it has not yet.
  while (sent > 0) {
    message.add(map.address, BYTES.length);
    sent = message.send(fd);
    assert.ok(sent <= BYTES.length);
  }
  assert.equal(sent, SOCKET_FULL);
  near.destroy();
  await once(near, 'close');
  message.add(map.address, 1);
  assert.ok(message.send(-1) < 0);
});

test('memory that has gone: what comes before it is sent', async (t) => {
  const { fd: file, map } = mappedFile(t, process.cwd(), BYTES);
  const { fd } = await pair(t);
  ftruncateSync(file, MAP_PAGE_BYTES);
  const message = new GatherSend();
  message.add(map.address, 2 * MAP_PAGE_BYTES);
  const sent = message.send(fd);
  assert.ok(sent <= MAP_PAGE_BYTES, `${sent} bytes`);
});
