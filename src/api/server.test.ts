import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { Running } from '../../test/lab/process.ts';
import { AdminClient } from './client.ts';
import { FakeServices } from './fake-services.ts';
import { startAdminServer, type AdminServer, type AdminServerOptions } from './server.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-admin-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

const start = (socketPath: string, more: Partial<AdminServerOptions> = {}): Promise<AdminServer> =>
  startAdminServer({ services: new FakeServices(), socketPath, version: '0.1.0', ...more });

const refused = (code: string, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof EnvironmentError || e instanceof UserError, String(e));
  assert.equal(e.code, code);
  assert.match(e.message, text);
  return true;
};

test('the socket is for its owner alone, and goes with the server', async (t) => {
  const path = join(folder(t), 'deep', 'admin.sock');
  const before = process.umask(0o022);
  const server = await start(path);
  assert.equal(process.umask(before), 0o022);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal((await new AdminClient(path).status()).version, '0.1.0');
  await server.close();
  await server.close();
  assert.equal(existsSync(path), false);
});

test('the socket of a server that was killed is taken over', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const script = `require('net').createServer().listen(process.argv[1], () => console.log('up'))`;
  const dead = new Running(process.execPath, ['-e', script, path]);
  await dead.waitFor(/up/);
  await dead.stop('SIGKILL');
  assert.ok(existsSync(path));
  const server = await start(path);
  await new AdminClient(path).status();
  await server.close();
});

test('a second server on the same socket is refused, and the first one lives on', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const server = await start(path);
  await assert.rejects(start(path), refused('admin-socket-taken', /another polyboot is running/));
  await new AdminClient(path).status();
  await server.close();
});

test('a file that is no socket is left alone', async (t) => {
  const path = join(folder(t), 'precious');
  writeFileSync(path, 'data');
  await assert.rejects(start(path), refused('admin-socket', /is there and is no socket/));
  assert.ok(existsSync(path));
  await assert.rejects(start(join(path, 'admin.sock')), refused('admin-socket', /cannot be made/));
  const long = join(folder(t), 'x'.repeat(120));
  await assert.rejects(start(long), refused('admin-socket', /longer than 107 bytes/));
});

test('an address that others reach needs a token', async (t) => {
  const path = join(folder(t), 'admin.sock');
  for (const address of ['0.0.0.0', '10.0.0.1', '::', 'boot.lab'])
    await assert.rejects(
      start(path, { tcp: { address, port: 0 } }),
      refused('token-required', /without a token/),
    );
  await assert.rejects(
    start(path, { tcp: { address: '127.0.0.1', port: 0, token: 'short' } }),
    refused('token-weak', /too short/),
  );
  assert.equal(existsSync(path), false);
});

test('TCP on loopback answers without a token, elsewhere with it', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const open = await start(path, { tcp: { address: '127.0.0.1', port: 0 } });
  assert.equal((await fetch(`${open.url}/v1/status`)).status, 200);
  await open.close();
  const token = 'sixteen-chars-ok';
  const closed = await start(path, { tcp: { address: '127.0.0.1', port: 0, token } });
  assert.equal((await fetch(`${closed.url}/v1/status`)).status, 401);
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await fetch(`${closed.url}/v1/status`, { headers })).status, 200);
  await closed.close();
});

test('on every address it answers to each of them, and to no name', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const token = 'sixteen-chars-ok';
  const statusAs = async (server: AdminServer, name: string, at: string): Promise<unknown> => {
    const { port } = new URL(server.url ?? '');
    const headers = { host: `${name}:${port}`, authorization: `Bearer ${token}` };
    const asked = request({ host: at, port, path: '/v1/status', headers }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode;
  };
  const all = await start(path, { tcp: { address: '0.0.0.0', port: 0, token } });
  t.after(() => all.close());
  assert.equal(await statusAs(all, '127.0.0.1', '127.0.0.1'), 200);
  assert.equal(await statusAs(all, '127.0.0.2', '127.0.0.2'), 200);
  assert.equal(await statusAs(all, 'evil.example', '127.0.0.1'), 403);
  await all.close();
  const one = await start(path, { tcp: { address: '127.0.0.1', port: 0, token } });
  t.after(() => one.close());
  assert.equal(await statusAs(one, '10.0.0.9', '127.0.0.1'), 403);
});

test('when the TCP port is taken nothing is left running', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  await assert.rejects(
    start(path, { tcp: { address: '127.0.0.1', port } }),
    refused('admin-address', /EADDRINUSE/),
  );
  assert.equal(existsSync(path), false);
  other.close();
});

test('closing ends streams and long work at once', async (t) => {
  const path = join(folder(t), 'admin.sock');
  const services = new FakeServices();
  const server = await start(path, { services });
  const client = new AdminClient(path);
  const stream = client.follow(0, new AbortController().signal);
  services.events.emit({});
  assert.equal((await stream.next()).value?.id, 1);
  const building = new Promise<void>((resolve) => {
    services.images.onBuild = resolve;
  });
  const work = client.makeImage({ action: 'build', name: 'x', recipe: 'debian' }, () => undefined);
  await building;
  const ended = Promise.all([
    assert.rejects(stream.next(), refused('server-gone', /went away/)),
    assert.rejects(work, refused('server-gone', /went away/)),
  ]);
  await server.close();
  await ended;
  assert.equal(services.events.listeners, 0);
  assert.equal(services.images.cancelled, 1);
});
