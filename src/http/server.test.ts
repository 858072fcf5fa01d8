import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { Bench, GET } from '../../test/interop/http-kit.ts';
import { LIMITS } from './limits.ts';
import type { BootRequest, HttpAnswer } from './types.ts';

suite('boot listener', () => {
  test('GET, HEAD, ranges and conditions of a file, on one connection', async (t) => {
    const bench = await Bench.start(t);
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 251));
    await bench.file('initrd.img', content);
    const client = await bench.dial();
    client.send(GET('/initrd.img'));
    const whole = await client.answer();
    assert.equal(whole.status, 200);
    assert.deepEqual(whole.body, content);
    assert.equal(whole.headers.get('content-type'), 'application/vnd.efi-img');
    assert.equal(whole.headers.get('accept-ranges'), 'bytes');
    assert.equal(whole.headers.get('connection'), 'keep-alive');
    client.send('HEAD /initrd.img HTTP/1.1\r\nHost: h\r\n\r\n');
    const size = await client.answer(true);
    assert.deepEqual([size.status, size.headers.get('content-length')], [200, '300000']);
    for (const [first, last] of [
      [0, 0],
      [100, 70_099],
      [299_999, 299_999],
      [5, 20_000],
    ] as const) {
      client.send(GET('/initrd.img', `Range: bytes=${first}-${last}`));
      const part = await client.answer();
      assert.equal(part.status, 206);
      assert.deepEqual(part.body, content.subarray(first, last + 1));
      assert.equal(part.headers.get('content-range'), `bytes ${first}-${last}/300000`);
    }
    client.send(GET('/initrd.img', `If-None-Match: ${whole.headers.get('etag')}`));
    assert.equal((await client.answer(true)).status, 304);
    client.send(GET('/initrd.img', 'Range: bytes=300000-'));
    assert.equal((await client.answer()).status, 416);
    assert.equal(bench.server.counters['connections'], 1);
    const seen = await bench.told(8);
    assert.ok(seen.every((s) => s.event === 'finished'));
    assert.deepEqual(seen[3]?.transfer.range, { startBytes: 100, sizeBytes: 300_000 });
    assert.equal(seen[3]?.sentBytes, 70_000);
  });

  test('who asks for a close gets it after the answer, and nothing that was pipelined', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('f', 'boot me');
    for (const last of [GET('/f', 'Connection: close'), 'GET /f HTTP/1.0\r\n\r\n']) {
      const client = await bench.dial();
      client.send(last + GET('/f'));
      const answer = await client.answer();
      assert.deepEqual([answer.status, answer.body.toString()], [200, 'boot me']);
      assert.equal(answer.headers.get('connection'), 'close');
      assert.equal(await client.closed(), '');
    }
  });

  test('Range abuse: a thousand ranges get the file once', async (t) => {
    const bench = await Bench.start(t);
    await bench.file('f', 'x'.repeat(1000));
    const ranges = `Range: bytes=${'0-0,'.repeat(1000)}1-1`;
    const answer = await bench.ask(GET('/f', ranges));
    assert.deepEqual([answer.status, answer.body.length], [200, 1000]);
  });

  test('POST of a booted guest, with what the site sees of it', async (t) => {
    let request: BootRequest | undefined;
    const bench = await Bench.start(t, (r) => {
      request = r;
      return { kind: 'text', status: 202, contentType: 'text/plain', body: 'noted\n' };
    });
    const client = await bench.dial();
    const start = 'POST /boot/report?stage=ready&x=a%20b HTTP/1.1\r\nHost: h\r\n';
    client.send(`${start}X-Forwarded-For: 1.2.3.4\r\nContent-Length: 4\r\n\r\nbo`);
    client.send('dy');
    const answer = await client.answer();
    assert.deepEqual([answer.status, answer.body.toString()], [202, 'noted\n']);
    assert.equal(request?.method, 'POST');
    assert.equal(request.body.toString(), 'body');
    assert.equal(request.query.get('x'), 'a b');
    // A claim in a header is a claim: the address is the socket's (hostile case 20).
    assert.equal(request.remoteAddress, '127.0.0.1');
    assert.equal(request.localAddress, '127.0.0.1');
    assert.equal(request.localPort, bench.port);
    client.socket.destroy();
  });

  test('a body over the limit is refused before it is sent', async (t) => {
    const bench = await Bench.start(t);
    const answer = await bench.ask(
      `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${LIMITS.bodyBytes + 1}\r\n\r\n`,
    );
    assert.deepEqual([answer.status, answer.headers.get('connection')], [413, 'close']);
  });

  test('pipelined requests are answered in order; a half-closed client gets its answer', async (t) => {
    const bench = await Bench.start(t, ({ path }) => ({
      kind: 'text',
      status: 200,
      contentType: 'text/plain',
      body: path,
    }));
    const client = await bench.dial();
    const many = 200;
    client.socket.end(Array.from({ length: many }, (_, n) => GET(`/${n}`)).join(''));
    for (let n = 0; n < many; n++) {
      assert.equal((await client.answer()).body.toString(), `/${n}`);
    }
    assert.equal(await client.closed(), '');
  });

  test('traversal: nothing outside the folder, by any name or link', async (t) => {
    const bench = await Bench.start(t);
    await mkdir(join(bench.folder, 'sub'));
    await bench.file('inside', 'inside');
    await symlink('/etc', join(bench.folder, 'etc'));
    await symlink('../inside', join(bench.folder, 'sub', 'ok'));
    await symlink('../../../../etc/passwd', join(bench.folder, 'up'));
    const statuses = new Map([
      ['/../../etc/passwd', 400],
      ['/%2e%2e/%2e%2e/etc/passwd', 400],
      ['/sub/..%2f..%2fetc/passwd', 400],
      ['/etc/passwd', 403],
      ['/up', 403],
      ['/sub', 403],
      ['/sub/ok', 200],
      ['//inside', 200],
      ['/inside/x', 404],
      ['/nothing', 404],
    ]);
    for (const [path, status] of statuses) {
      assert.equal((await bench.ask(GET(path))).status, status, path);
    }
  });

  test('errors: by kind to the client, in full to nobody', async (t) => {
    const bench = await Bench.start(t, ({ path }) => {
      if (path === '/user') throw new UserError('forbidden', 'x', { what: 'not yours' });
      if (path === '/late') return Promise.reject(new TypeError('secret detail'));
      if (path === '/redirect') return { kind: 'redirect', location: '/x\r\nA: b' };
      throw new TypeError('secret detail');
    });
    const user = await bench.ask(GET('/user'));
    assert.deepEqual([user.status, user.body.toString()], [403, '403 not yours\n']);
    for (const path of ['/late', '/now']) {
      const broken = await bench.ask(GET(path));
      assert.equal(broken.status, 500);
      assert.doesNotMatch(broken.body.toString(), /secret/);
    }
    const redirect = await bench.ask(GET('/redirect'));
    assert.deepEqual([redirect.status, redirect.headers.get('a')], [302, undefined]);
  });

  test('a site that never answers: 503, and its late answer is dropped', async (t) => {
    let finish: (answer: HttpAnswer) => void = () => {};
    let closed = 0;
    let heard: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      heard = resolve;
    });
    const bench = await Bench.start(t, () => {
      heard();
      return new Promise((resolve) => {
        finish = resolve;
      });
    });
    const client = await bench.dial();
    client.send(GET('/'));
    await asked;
    bench.clock.advance(LIMITS.resolveMs);
    assert.equal((await client.answer()).status, 503);
    const source = {
      sizeBytes: 1,
      read: () => Promise.resolve(1),
      close() {
        closed += 1;
      },
    };
    finish({ kind: 'source', source });
    await client.closed();
    assert.equal(closed, 1);
  });
});
