import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock, UserError } from '#base/mod.ts';
import { AdminClient, RemoteError } from './client.ts';
import { FakeServices } from './fake-services.ts';
import { HEARTBEAT_MS } from './limits.ts';
import type { Progress } from './schema/image.ts';
import { startAdminServer } from './server.ts';
import { linesOf, sseData } from './text-stream.ts';

type Setup = { services: FakeServices; client: AdminClient; clock: FakeClock; socketPath: string };

async function setUp(t: TestContext): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-streams-'));
  const socketPath = join(folder, 'admin.sock');
  const clock = new FakeClock();
  const services = new FakeServices(clock);
  const server = await startAdminServer({ services, socketPath, version: '0.1.0', clock });
  t.after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  return { services, client: new AdminClient(socketPath), clock, socketPath };
}

/** The text of a raw stream, as it comes. */
function raw(
  socketPath: string,
  path: string,
  headers: Record<string, string> = {},
): {
  until: (pattern: RegExp) => Promise<string>;
  stop: () => void;
} {
  let text = '';
  let wake: () => void = () => undefined;
  const req = request({ socketPath, path, headers, agent: false }, (response) => {
    response.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      wake();
    });
    response.on('error', () => undefined);
  }).end();
  req.on('error', () => undefined);
  return {
    until: async (pattern) => {
      while (!pattern.test(text))
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      return text;
    },
    stop: () => req.destroy(),
  };
}

test('events are replayed from a number on, then come live, without gap or double', async (t) => {
  const { services, client } = await setUp(t);
  for (let n = 1; n <= 600; n += 1) services.events.emit({ facts: { n } });
  const stop = new AbortController();
  const ids: number[] = [];
  for await (const event of client.follow(100, stop.signal)) {
    ids.push(event.id);
    if (event.id === 600) for (let n = 0; n < 600; n += 1) services.events.emit({});
    if (event.id === 1_200) stop.abort();
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 1_100 }, (_, n) => 101 + n),
  );
});

test('Last-Event-ID takes up where the client was; it outranks the query', async (t) => {
  const { services, socketPath } = await setUp(t);
  for (let n = 1; n <= 5; n += 1) services.events.emit({ facts: { n } });
  const stream = raw(socketPath, '/v1/events/stream?after=1', { 'last-event-id': '3' });
  const text = await stream.until(/id: 5\n/);
  assert.deepEqual(
    [...text.matchAll(/id: (\d)/g)].map((m) => m[1]),
    ['4', '5'],
  );
  stream.stop();
});

test('without a number a stream begins now; with one too high, at the start', async (t) => {
  const { services, socketPath } = await setUp(t);
  services.events.emit({});
  const now = raw(socketPath, '/v1/events/stream');
  await now.until(/retry/);
  services.events.emit({});
  assert.doesNotMatch(await now.until(/id: 2\n/), /id: 1\n/);
  now.stop();
  const lost = raw(socketPath, '/v1/events/stream?after=99');
  assert.match(await lost.until(/id: 2\n/), /id: 1\n/);
  lost.stop();
});

test('a quiet stream has a heartbeat, and none after it ended', async (t) => {
  const { services, clock, socketPath } = await setUp(t);
  const stream = raw(socketPath, '/v1/events/stream');
  await stream.until(/retry/);
  for (let beats = 1; beats <= 3; beats += 1) {
    clock.advance(HEARTBEAT_MS);
    await stream.until(new RegExp(`(: alive\n\n){${beats}}$`));
  }
  stream.stop();
  while (services.events.listeners > 0) await new Promise(setImmediate);
  assert.equal(clock.pending, 0);
});

test('text in an event cannot forge another event', async (t) => {
  const { services, client } = await setUp(t);
  const name = 'a\n\nid: 99\ndata: {"forged":true}\n\n\r\r\u2028';
  services.events.emit({ facts: { name } });
  services.events.emit({});
  const stop = new AbortController();
  const got = [];
  for await (const event of client.follow(0, stop.signal)) {
    got.push(event);
    if (got.length === 2) stop.abort();
  }
  assert.deepEqual(got, services.events.all);
});

test('long work tells its progress, at most ten times a second, and its result', async (t) => {
  const { services, client, clock } = await setUp(t);
  const heard: Progress[] = [];
  let hear: () => void = () => undefined;
  const building = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  const result = client.makeImage({ action: 'build', name: 'deb', recipe: 'debian' }, (step) => {
    heard.push(step);
    hear();
  });
  await building;
  const { work, finish } = services.images.running ?? assert.fail();
  work.progress?.({ phase: 'unpack', doneBytes: 0, totalBytes: 100 });
  for (let n = 1; n < 50; n += 1)
    work.progress?.({ phase: 'unpack', doneBytes: n, totalBytes: 100 });
  clock.advance(100);
  work.progress?.({ phase: 'unpack', doneBytes: 50, totalBytes: 100 });
  work.progress?.({ phase: 'unpack', doneBytes: 51, line: 'a line is never left out' });
  work.progress?.({ phase: 'sync' });
  while (heard.length < 4)
    await new Promise<void>((resolve) => {
      hear = resolve;
    });
  finish();
  assert.equal((await result).source, 'recipe debian');
  assert.deepEqual(
    heard.map((step) => step.doneBytes ?? step.phase),
    [0, 50, 51, 'sync'],
  );
});

test('work that fails at once has the status of its error, later a last line', async (t) => {
  const { services, client } = await setUp(t);
  const said = (code: string) => (e: unknown) => e instanceof RemoteError && e.code === code;
  await assert.rejects(
    client.makeImage({ action: 'clone', from: 'none', name: 'x' }, () => undefined),
    (e: unknown) => said('image-unknown')(e) && e instanceof UserError && e.kind === 'not-found',
  );
  const building = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  const late = client.makeImage(
    { action: 'build', name: 'unlucky', recipe: 'debian' },
    () => undefined,
  );
  await building;
  services.images.running?.work.progress?.({ phase: 'unpack' });
  services.images.running?.finish();
  await assert.rejects(late, said('no-luck'));
});

test('a client that goes away cancels the work', async (t) => {
  const { services, client } = await setUp(t);
  const stop = new AbortController();
  const building = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  const work = client.makeImage(
    { action: 'build', name: 'x', recipe: 'debian' },
    () => undefined,
    stop.signal,
  );
  await building;
  const cancelled = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  stop.abort();
  await assert.rejects(work, { name: 'AbortError' });
  await cancelled;
  assert.equal(services.images.cancelled, 1);
  assert.equal(services.images.has('x'), false);
});

test('lines and events are found in any portions of bytes', async () => {
  const text = 'id: 1\r\ndata: {"a":"ä€𝄞"}\r\n\r\n: alive\n\ndata:x\ndata: y\n\ndata: lost';
  const bytes = Buffer.from(text);
  for (let size = 1; size <= bytes.length; size += 1) {
    const parts = (async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      await Promise.resolve();
    })();
    const got: string[] = [];
    for await (const data of sseData(linesOf(parts))) got.push(data);
    assert.deepEqual(got, ['{"a":"ä€𝄞"}', 'x\ny'], `portions of ${size}`);
  }
});
