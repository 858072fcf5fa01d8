import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildAdminApp } from './admin-app.ts';
import type { Image } from '#images/mod.ts';
import { FakeServices } from './fake-services.ts';
import type { ApiApp } from './routes/context.ts';

type Answer = { status: number; body: unknown };
type Call = (
  method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE',
  url: string,
  payload?: object,
) => Promise<Answer>;

async function setUp(): Promise<{ services: FakeServices; app: ApiApp; call: Call }> {
  const services = new FakeServices();
  const app = await buildAdminApp({ services, access: { kind: 'unix' }, version: '0.1.0' });
  const call: Call = async (method, url, payload) => {
    const response = await app.inject({
      method,
      url,
      ...(payload === undefined ? {} : { payload }),
    });
    return {
      status: response.statusCode,
      body: response.body === '' ? undefined : JSON.parse(response.body),
    };
  };
  return { services, app, call };
}

function withoutLayers(image: Image): object {
  const { head: _, lastPoint: __, ...shown } = image;
  return shown;
}

const P4 = { name: 'p4', macs: ['52:54:00:00:00:01'] };

test('a machine is added, shown, changed, given one boot, and forgotten', async () => {
  const { services, call } = await setUp();
  await services.images.create('dos', { preset: 'dos', sizeBytes: 1 });
  const added = await call('POST', '/v1/machines', {
    ...P4,
    drives: [{ image: 'dos', mode: 'exclusive' }],
  });
  assert.equal(added.status, 201);
  assert.partialDeepStrictEqual(added.body, {
    name: 'p4',
    plan: { kind: 'san' },
    initiator: 'iqn.2026-11.org.polyboot:p4',
    targets: ['iqn.2026-11.org.polyboot:p4.0'],
  });
  assert.deepEqual((await call('GET', '/v1/machines/p4')).body, added.body);
  assert.deepEqual((await call('GET', '/v1/machines')).body, [added.body]);
  const changed = await call('PATCH', '/v1/machines/p4', { note: 'bench', address: '10.0.0.5' });
  assert.partialDeepStrictEqual(changed.body, { note: 'bench', address: '10.0.0.5' });
  const cleared = await call('PATCH', '/v1/machines/p4', { note: null });
  assert.equal(Object.hasOwn(cleared.body as object, 'note'), false);
  const once = await call('PUT', '/v1/machines/p4/boot', { once: { plan: { kind: 'local' } } });
  assert.partialDeepStrictEqual(once.body, { nextBoot: { plan: { kind: 'local' } } });
  await call('PUT', '/v1/machines/p4/boot', { once: null });
  assert.equal(services.machines.show('p4').nextBoot, undefined);
  assert.deepEqual(await call('DELETE', '/v1/machines/p4'), { status: 204, body: undefined });
  assert.equal((await call('GET', '/v1/machines/p4')).status, 404);
});

test('secrets go in and come out only with the whole state, when asked for', async () => {
  const { app, call } = await setUp();
  const chap = {
    user: 'p4',
    secret: 'very-secret-1',
    mutualUser: 'us',
    mutualSecret: 'very-secret-2',
  };
  const added = await call('POST', '/v1/machines', { ...P4, chap });
  assert.partialDeepStrictEqual(added.body, { chap: { user: 'p4', mutualUser: 'us' } });
  for (const url of [
    '/v1/machines',
    '/v1/machines/p4',
    '/v1/state',
    '/v1/state?secrets=false',
    '/v1/status',
  ])
    assert.doesNotMatch((await app.inject({ url })).body, /very-secret/, url);
  assert.match(
    (await app.inject({ url: '/v1/state?secrets=true' })).body,
    /very-secret-1.*very-secret-2/,
  );
});

test('every family of error has its status, and the three parts', async () => {
  const { services, call } = await setUp();
  await call('POST', '/v1/machines', P4);
  await services.images.create('dos', { preset: 'dos', sizeBytes: 1 });
  const cases: [Awaited<ReturnType<Call>>, number, string][] = [
    [
      await call('POST', '/v1/machines', { ...P4, name: 'P 4', color: 'beige' }),
      400,
      'invalid-value',
    ],
    [await call('PATCH', '/v1/machines/p4', { plan: { kind: 'floppy' } }), 400, 'invalid-value'],
    [await call('GET', '/v1/machines/NOT-A-NAME'), 400, 'invalid-value'],
    [await call('GET', '/v1/events?after=-1'), 400, 'invalid-value'],
    [await call('GET', '/v1/machines/nobody'), 404, 'machine-unknown'],
    [
      await call('PATCH', '/v1/machines/p4', { drives: [{ image: 'none', mode: 'shared' }] }),
      404,
      'image-unknown',
    ],
    [await call('GET', '/v1/nothing'), 404, 'no-such-route'],
    [await call('POST', '/v1/machines', P4), 409, 'machine-name-taken'],
    [await call('POST', '/v1/machines', { ...P4, name: 'other' }), 409, 'machine-mac-taken'],
  ];
  for (const [answer, status, code] of cases) {
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.partialDeepStrictEqual(answer.body, { code });
    assert.equal(typeof (answer.body as { what: unknown }).what, 'string');
  }
});

test('a second exclusive holder is refused, and the answer names the first', async () => {
  const { services, call } = await setUp();
  await services.images.create('dos', { preset: 'dos', sizeBytes: 1 });
  const drives = [{ image: 'dos', mode: 'exclusive' }];
  await call('POST', '/v1/machines', { ...P4, drives });
  const second = await call('POST', '/v1/machines', {
    name: 'p5',
    macs: ['52:54:00:00:00:02'],
    drives,
  });
  assert.equal(second.status, 409);
  assert.match(JSON.stringify(second.body), /image-held.*is held by machine \\"p4\\" as drive 0/);
  assert.deepEqual((await call('GET', '/v1/images/dos')).body, {
    ...withoutLayers(services.images.get('dos')),
    disk: services.images.sourceOf('dos'),
    holders: [{ machine: 'p4', mode: 'exclusive', index: 0, once: false }],
  });
  assert.equal((await call('DELETE', '/v1/images/dos')).status, 409);
});

test('a mistake of ours says nothing of its inside', async () => {
  const { services, call } = await setUp();
  services.leases = () => {
    throw new TypeError('secret internals at /home/somebody/file.ts');
  };
  const answer = await call('GET', '/v1/leases');
  assert.equal(answer.status, 500);
  assert.partialDeepStrictEqual(answer.body, { code: 'internal' });
  assert.doesNotMatch(JSON.stringify(answer.body), /secret internals|somebody/);
});

test('an answer that is not as the schema says is our mistake, not sent', async () => {
  const { services, call } = await setUp();
  services.images.inspect = () => Promise.resolve({ sizeBytes: 'large' });
  await services.images.create('dos', { preset: 'dos', sizeBytes: 1 });
  assert.equal((await call('GET', '/v1/images/dos/inspection')).status, 500);
});

test('status, leases and inspection answer as they promise', async () => {
  const { services, call } = await setUp();
  await services.images.create('dos', { preset: 'dos', sizeBytes: 1 });
  assert.deepEqual((await call('GET', '/v1/status')).body, services.status());
  assert.deepEqual((await call('GET', '/v1/leases')).body, services.leases());
  assert.deepEqual(
    (await call('GET', '/v1/images/dos/inspection')).body,
    await services.images.inspect('dos'),
  );
});

test('events are read by number, in portions', async () => {
  const { services, call } = await setUp();
  for (let n = 0; n < 5; n += 1) services.events.emit({ facts: { n } });
  const answer = await call('GET', '/v1/events?after=1&limit=2');
  assert.deepEqual(answer.body, { events: services.events.all.slice(1, 3), lastId: 5 });
});

test('OpenAPI 3.1 describes every route with its bodies and answers', async () => {
  const { app } = await setUp();
  const document = (await app.inject({ url: '/openapi.json' })).json<{
    openapi: string;
    paths: Record<
      string,
      Record<string, { summary?: string; responses: object; requestBody?: object }>
    >;
  }>();
  assert.equal(document.openapi, '3.1.0');
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  assert.equal(operations.length, 23);
  for (const { path, method, operation } of operations) {
    const name = `${method} ${path}`;
    assert.ok(operation.summary !== undefined && operation.summary.length > 5, name);
    assert.ok('4XX' in operation.responses && '5XX' in operation.responses, name);
    if (method === 'post' || method === 'patch' || method === 'put')
      assert.match(JSON.stringify(operation.requestBody), /application\/json/, name);
  }
  assert.match(JSON.stringify(document), /exclusive.*shared/);
  assert.doesNotMatch(JSON.stringify(document), /"nullable"|\$schema/);
});
