import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { parseNbdUrl } from './url.ts';

test('url_forms: TCP and Unix sockets, names with everything in them', () => {
  const tcp = (host: string, port: number) => ({ kind: 'tcp', host, port });
  assert.deepEqual(parseNbdUrl('nbd://nas'), { at: tcp('nas', 10_809), exportName: '' });
  assert.deepEqual(parseNbdUrl('nbd://nas:1/a/b'), { at: tcp('nas', 1), exportName: 'a/b' });
  assert.deepEqual(parseNbdUrl('nbd://[::1]:99/x%20%C3%A4'), {
    at: tcp('::1', 99),
    exportName: 'x ä',
  });
  assert.deepEqual(parseNbdUrl('nbd+unix:///disk?socket=/run/a.sock'), {
    at: { kind: 'unix', path: '/run/a.sock' },
    exportName: 'disk',
  });
  assert.equal(parseNbdUrl('nbd+unix://?socket=/run/a%2Fb').exportName, '');
});

test('url_refused: each with what to write in its place', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['nbd:unix:/run/a.sock', /write nbd\+unix:\/\/\/\?socket=\/run\/a.sock/],
    ['nbd:unix:/run/a.sock:exportname=x y', /write nbd\+unix:\/\/\/x%20y\?socket=\/run\/a.sock/],
    ['nbd:host:10809:exportname=disk', /write nbd:\/\/host:10809\/disk/],
    ['nbds://host/x', /TLS is not supported/],
    ['nbds+unix:///x?socket=/a', /TLS is not supported/],
    ['http://host/x', /not a way to reach an NBD server/],
    ['', /it is no URL/],
    ['nbd://', /names no host|no URL/],
    ['nbd://user@host/x', /no users or passwords/],
    ['nbd://host:0/x', /no port 0/],
    ['nbd://host:99999/x', /no URL/],
    ['nbd://host/x?socket=/a', /takes no parameters/],
    ['nbd://host/x#y', /fragment/],
    ['nbd://host/%ff', /export name is not valid/],
    ['nbd://host/%00', /export name is not valid/],
    [`nbd://host/${'x'.repeat(4097)}`, /export name is not valid/],
    ['nbd+unix:///x', /exactly one parameter/],
    ['nbd+unix:///x?socket=/a&socket=/b', /exactly one parameter/],
    ['nbd+unix:///x?socket=a', /whole path/],
    ['nbd+unix:///x?socket=/a%00', /whole path/],
    ['nbd+unix://host/x?socket=/a', /three slashes/],
    [`nbd+unix:///x?socket=/${'a'.repeat(108)}`, /at most 107 bytes/],
  ];
  for (const [url, message] of cases) {
    assert.throws(
      () => parseNbdUrl(url),
      (e) => e instanceof UserError && message.test(e.message),
      url,
    );
  }
});
