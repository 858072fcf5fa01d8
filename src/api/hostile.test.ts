import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { UserError } from '#base/mod.ts';
import { buildAdminApp } from './admin-app.ts';
import { FakeServices } from './fake-services.ts';
import { checkAccess } from './guard.ts';
import { checkJsonDepth } from './json-body.ts';
import { CONNECTIONS_MAX, HEADERS_TIMEOUT_MS, HEADER_BYTES_MAX } from './limits.ts';
import { REQUEST_TIMEOUT_MS, STREAMS_MAX } from './limits.ts';
import type { ApiApp } from './routes/context.ts';
import { startAdminServer, type AdminServer } from './server.ts';

/** Cases of hostile case 18, by name. */
const TOKEN = 'a-token-of-this-test';
const NEW = JSON.stringify({ name: 'p4', macs: ['52:54:00:00:00:01'] });
const POST = 'POST /v1/machines HTTP/1.1\r\ncontent-type: application/json\r\n';
const JSON_TYPE = { 'content-type': 'application/json' };

async function tcpApp(token?: string): Promise<ApiApp> {
  const hosts = ['127.0.0.1', 'localhost', '::1', 'boot.lab'];
  const access = { kind: 'tcp' as const, hosts, ...(token === undefined ? {} : { token }) };
  return buildAdminApp({ services: new FakeServices(), access, version: '0.1.0' });
}

async function unixServer(
  t: TestContext,
): Promise<{ server: AdminServer; services: FakeServices; connect: () => Socket }> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-api-'));
  const services = new FakeServices();
  const socketPath = join(folder, 'admin.sock');
  const server = await startAdminServer({ services, socketPath, version: '0.1.0' });
  t.after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  return { server, services, connect: () => createConnection(socketPath) };
}

/** What comes on a connection until it ends, or until it matches. */
function reply(socket: Socket, pattern = /\r\n/): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (pattern.test(text)) resolve(text);
    });
    // A server that has heard enough hangs up on who still sends: that is no failure of a test.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve(text);
    });
  });
}

async function statusOf(
  app: ApiApp,
  headers: Record<string, string>,
  method = 'GET',
): Promise<number> {
  const url = '/v1/machines';
  const body = method === 'POST' ? { payload: NEW } : {};
  const send = method === 'POST' ? ('POST' as const) : ('GET' as const);
  return (await app.inject({ method: send, url, headers, ...body })).statusCode;
}

test('DNS rebinding: a foreign name in Host is refused, on every route', async () => {
  const app = await tcpApp();
  for (const host of [
    'evil.example',
    'evil.example:80',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    'localhost.',
  ])
    assert.equal(await statusOf(app, { host }), 403, host);
  for (const host of ['localhost', 'LOCALHOST:8081', '127.0.0.1:8081', '[::1]:8081', 'boot.lab'])
    assert.equal(await statusOf(app, { host }), 200, host);
  assert.throws(() => {
    checkAccess({ kind: 'tcp', hosts: ['localhost'] }, {});
  }, UserError);
  for (const url of ['/openapi.json', '/v1/events/stream', '/nothing'])
    assert.equal(
      (await app.inject({ url, headers: { host: 'evil.example' } })).statusCode,
      403,
      url,
    );
});

test('CSRF: a page of another site changes nothing', async () => {
  const app = await tcpApp();
  const host = { host: 'localhost:8081' };
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/jsonx',
    '',
  ])
    assert.equal(await statusOf(app, { ...host, 'content-type': type }, 'POST'), 415, type);
  for (const origin of [
    'http://evil.example',
    'null',
    'http://localhost:9999',
    'https://localhost:8081',
  ])
    assert.equal(await statusOf(app, { ...host, ...JSON_TYPE, origin }, 'POST'), 403, origin);
  for (const site of ['cross-site', 'same-site'])
    assert.equal(
      await statusOf(app, { ...host, ...JSON_TYPE, 'sec-fetch-site': site }, 'POST'),
      403,
      site,
    );
  const remove = { method: 'DELETE' as const, url: '/v1/machines/p4' };
  const headers = { ...host, origin: 'http://evil.example' };
  assert.equal((await app.inject({ ...remove, headers })).statusCode, 403);
  assert.deepEqual((await app.inject({ url: '/v1/machines', headers: host })).json(), []);
  const own = {
    ...host,
    ...JSON_TYPE,
    origin: 'http://localhost:8081',
    'sec-fetch-site': 'same-origin',
  };
  assert.equal(await statusOf(app, own, 'POST'), 201);
});

test('cross-origin server-sent events are refused', async () => {
  const app = await tcpApp();
  const headers = { host: 'localhost', origin: 'http://evil.example' };
  assert.equal((await app.inject({ url: '/v1/events/stream', headers })).statusCode, 403);
});

test('a page reaches nothing through a Unix socket that something forwards', async () => {
  const app = await buildAdminApp({
    services: new FakeServices(),
    access: { kind: 'unix' },
    version: '1',
  });
  assert.equal(await statusOf(app, { host: 'any', origin: 'http://localhost' }), 403);
  assert.equal(await statusOf(app, { host: 'any' }), 200);
});

test('a spoofed X-Forwarded-Host or -For changes no decision', async () => {
  const app = await tcpApp(TOKEN);
  const spoof = { 'x-forwarded-host': 'localhost', 'x-forwarded-for': '127.0.0.1' };
  assert.equal(await statusOf(app, { ...spoof, host: 'evil.example' }), 403);
  assert.equal(await statusOf(app, { ...spoof, host: 'localhost' }), 401);
});

test('without the token nothing is answered, with it everything', async () => {
  const app = await tcpApp(TOKEN);
  const host = { host: 'localhost' };
  for (const authorization of [
    '',
    'Bearer',
    'Bearer wrong',
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
  ])
    assert.equal(await statusOf(app, { ...host, authorization }), 401, authorization);
  const answer = await app.inject({ url: '/v1/machines', headers: host });
  assert.equal(answer.headers['www-authenticate'], 'Bearer');
  assert.equal(await statusOf(app, { ...host, authorization: `Bearer ${TOKEN}` }), 200);
});

test('JSON nested 100,000 deep is refused before it is parsed', async () => {
  const app = await tcpApp();
  const headers = { host: 'localhost', ...JSON_TYPE };
  for (const payload of [
    '['.repeat(100_000),
    `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
  ]) {
    const answer = await app.inject({ method: 'POST', url: '/v1/machines', headers, payload });
    assert.equal(answer.statusCode, 400);
    assert.equal(answer.json<{ code: string }>().code, 'json-too-deep');
  }
  checkJsonDepth('{"a":"[[[[[[[[\\"[[[[["}', 1);
  checkJsonDepth('[[1],[2],[3]]', 2);
  assert.throws(() => {
    checkJsonDepth('[[[1]]]', 2);
  }, UserError);
});

test('JSON that would change prototypes, or is none, is refused', async () => {
  const app = await tcpApp();
  const headers = { host: 'localhost', ...JSON_TYPE };
  for (const payload of [
    '{"__proto__":{"polluted":1},"name":"p4","macs":["52:54:00:00:00:01"]}',
    '{"constructor":{"prototype":{"polluted":1}}}',
    '{"name":',
    '',
    'null',
    '[]',
    '"x"',
    '\u0000',
  ]) {
    const answer = await app.inject({ method: 'POST', url: '/v1/machines', headers, payload });
    assert.equal(answer.statusCode, 400, payload);
  }
  assert.equal('polluted' in {}, false);
});

test('a body over the limit is refused, whatever length it claims', async (t) => {
  const app = await tcpApp();
  const headers = { host: 'localhost', ...JSON_TYPE };
  const payload = `"${'x'.repeat(1024 * 1024)}"`;
  const answer = await app.inject({ method: 'POST', url: '/v1/machines', headers, payload });
  assert.equal(answer.statusCode, 413);
  const { connect } = await unixServer(t);
  const socket = connect();
  socket.write(`${POST}host: x\r\ncontent-length: 99999999999\r\n\r\n[`);
  assert.match(await reply(socket), /^HTTP\/1\.1 413 /);
  socket.destroy();
});

test('a megabyte of headers is refused', async (t) => {
  const { connect } = await unixServer(t);
  const request = `GET /v1/machines HTTP/1.1\r\nhost: x\r\nx-big: ${'y'.repeat(1024 * 1024)}`;
  const socket = connect();
  // A little more than may be: the server has read all of it when it answers.
  socket.write(request.slice(0, 2 * HEADER_BYTES_MAX));
  assert.match(await reply(socket), /^HTTP\/1\.1 431 /);
  // Who goes on sending may find the door shut before the answer is read, but no other answer.
  const stubborn = connect();
  stubborn.write(`${request}\r\n\r\n`);
  assert.match(await reply(stubborn), /^(?:$|HTTP\/1\.1 431 )/);
});

test('slowloris: a request that never ends is let go', async () => {
  const app = await tcpApp();
  assert.equal(app.server.headersTimeout, HEADERS_TIMEOUT_MS);
  assert.equal(app.server.requestTimeout, REQUEST_TIMEOUT_MS);
  app.server.headersTimeout = 300;
  app.server.requestTimeout = 600;
  app.server.listen(0, '127.0.0.1');
  await once(app.server, 'listening');
  const { port } = app.server.address() as { port: number };
  for (const start of [
    'GET /v1/machines HTTP/1.1\r\nhost: localhost\r\nx-slow: ',
    `${POST}host: localhost\r\ncontent-length: 100\r\n\r\n{"na`,
  ]) {
    const socket = createConnection(port, '127.0.0.1');
    socket.write(start);
    assert.match(await reply(socket), /^HTTP\/1\.1 408 /);
    socket.destroy();
  }
  await app.close();
});

test('idle sockets: no more than the limit are held; others are served after', async (t) => {
  const { connect } = await unixServer(t);
  const idle: Socket[] = [];
  const closed: Promise<string>[] = [];
  for (let n = 0; n < CONNECTIONS_MAX + 40; n += 1) {
    const socket = connect();
    closed.push(reply(socket));
    idle.push(socket);
  }
  assert.equal(await Promise.race(closed), '');
  for (const socket of idle) socket.destroy();
  await Promise.all(closed);
  // The server notices one after the other that they have gone; until then it takes nobody.
  let answer = '';
  while (answer === '') {
    const socket = connect();
    socket.write('GET /v1/machines HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    answer = await reply(socket);
  }
  assert.match(answer, /^HTTP\/1\.1 200 /);
});

test('streams at once are bounded', async (t) => {
  const { connect, services } = await unixServer(t);
  const sockets: Socket[] = [];
  for (let n = 0; n < STREAMS_MAX; n += 1) {
    const socket = connect();
    socket.write('GET /v1/events/stream HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.match(await reply(socket), /^HTTP\/1\.1 200 /);
    sockets.push(socket);
  }
  const extra = connect();
  extra.write('GET /v1/events/stream HTTP/1.1\r\nhost: x\r\n\r\n');
  assert.match(await reply(extra, /too-many-streams/), /^HTTP\/1\.1 409 [\s\S]*too-many-streams/);
  assert.equal(services.events.listeners, STREAMS_MAX);
  for (const socket of [...sockets, extra]) socket.destroy();
});

test('a watcher that never reads is held back, then catches up without a gap', async (t) => {
  const { connect, services } = await unixServer(t);
  const socket = connect();
  socket.write('GET /v1/events/stream?after=0 HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(socket, 'data');
  socket.pause();
  const padding = 'x'.repeat(20_000);
  for (let n = 0; n < 400; n += 1) services.events.emit({ facts: { padding, n } });
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  socket.resume();
  while (!Buffer.concat(parts.slice(-2)).includes('"n":399')) await once(socket, 'data');
  const text = Buffer.concat(parts).toString();
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
  assert.deepEqual(
    ids,
    Array.from({ length: 400 }, (_, n) => n + 1),
  );
  socket.destroy();
});
