import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { DecodeError } from '#base/mod.ts';
import { generator } from '../../test/interop/http-kit.ts';
import { decideCondition, formatHttpDate, parseHttpDate, rangeStillValid } from './condition.ts';
import { LIMITS } from './limits.ts';
import { decideRange } from './range.ts';
import { decodeHead, refusalOf, type RefusalCode } from './request.ts';
import { encodeHead, planBody } from './respond.ts';
import { decodeTarget } from './target.ts';

/** Requests as real clients send them. */
const IPXE =
  'GET /boot/x.ipxe?mac=52-54 HTTP/1.1\r\nConnection: keep-alive\r\n' +
  'User-Agent: iPXE/1.0.0+git-20190125.36a4c85-5.1\r\nHost: 10.77.0.1:8080\r\n\r\n';
const OVMF = 'HEAD /loader/snponly.efi HTTP/1.1\r\nHost: 10.77.0.1\r\nAccept: */*\r\n\r\n';
const GRUB =
  'GET /files/vmlinuz HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: GRUB 2.06\r\n' +
  'Range: bytes=4096-\r\n\r\n';
const CURL =
  'POST /boot/report HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n' +
  'Content-Length: 5\r\nContent-Type: text/plain\r\n\r\n';

const head = (text: string): ReturnType<typeof decodeHead> =>
  decodeHead(Buffer.from(text, 'latin1'));

function refused(text: string, code: RefusalCode): void {
  assert.throws(
    () => head(text),
    (e) => e instanceof DecodeError && e.code === code,
    `${JSON.stringify(text.slice(0, 80))} should be ${code}`,
  );
}

suite('request head', () => {
  test('what real clients send', () => {
    const ipxe = head(IPXE);
    assert.equal(ipxe.method, 'GET');
    assert.equal(ipxe.target.path, '/boot/x.ipxe');
    assert.equal(ipxe.target.query.get('mac'), '52-54');
    assert.equal(ipxe.keepAlive, true);
    assert.equal(ipxe.headers.get('user-agent'), 'iPXE/1.0.0+git-20190125.36a4c85-5.1');
    assert.equal(head(OVMF).method, 'HEAD');
    assert.equal(head(GRUB).headers.get('range'), 'bytes=4096-');
    assert.equal(head(CURL).contentLength, 5);
  });

  test('keep-alive by version and Connection', () => {
    assert.equal(head('GET / HTTP/1.0\r\n\r\n').keepAlive, false);
    assert.equal(head('GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n').keepAlive, true);
    assert.equal(
      head('GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n').keepAlive,
      false,
    );
  });

  test('smuggling: every way to say two lengths or two requests is refused', () => {
    const post = (...lines: string[]): string =>
      `POST / HTTP/1.1\r\nHost: a\r\n${lines.join('\r\n')}\r\n\r\n`;
    refused(post('Content-Length: 5', 'Content-Length: 5'), 'bad-header');
    refused(post('Content-Length: 5, 5'), 'bad-length');
    refused(post('Content-Length: +5'), 'bad-length');
    refused(post('Content-Length: 0x5'), 'bad-length');
    refused(post('Content-Length: -1'), 'bad-length');
    refused(post('Content-Length:'), 'bad-length');
    refused(post('Content-Length: 5\v'), 'bad-header');
    refused(post('Content-Length: 5\u00a0'), 'bad-length');
    refused(post('Content-Length: 1e1'), 'bad-length');
    refused(post('Content-Length: 5', 'Transfer-Encoding: chunked'), 'bad-framing');
    refused(post('Transfer-Encoding: chunked'), 'length-required');
    refused(post('Transfer-Encoding : chunked'), 'bad-header');
    refused(post('Transfer-Encoding: identity', 'Transfer-Encoding: chunked'), 'bad-header');
    refused(post(' Content-Length: 5'), 'bad-header');
    refused(post('X: a\r\n folded'), 'bad-header');
    refused(post('X: a\nContent-Length: 5'), 'bad-header');
    refused(post('X: a\rContent-Length: 5'), 'bad-header');
    refused(post('X: a\0'), 'bad-header');
    refused(post(': empty name'), 'bad-header');
    refused('GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n', 'bad-framing');
    refused(post(`Content-Length: ${LIMITS.bodyBytes + 1}`), 'body-too-large');
    refused(post('Content-Length: 99999999999999999999'), 'bad-length');
  });

  test('Host games: none, two, and what is no host', () => {
    refused('GET / HTTP/1.1\r\n\r\n', 'bad-host');
    refused('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'bad-header');
    refused('GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n', 'bad-host');
    refused('GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 'bad-host');
    refused('GET / HTTP/1.1\r\nHost: <script>\r\n\r\n', 'bad-host');
    assert.equal(head('GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:80\r\n\r\n').method, 'GET');
    assert.equal(head('GET / HTTP/1.1\r\nHost:\r\n\r\n').method, 'GET');
    const absolute = head('GET http://evil.example/a?b=c HTTP/1.1\r\nHost: good\r\n\r\n');
    assert.equal(absolute.target.path, '/a');
  });

  test('request lines that are none', () => {
    refused('GET  / HTTP/1.1\r\n\r\n', 'bad-line');
    refused('GET / HTTP/1.1 \r\n\r\n', 'bad-line');
    refused('GET /\r\n\r\n', 'bad-line');
    refused('GET / HTTP/1.1', 'bad-line');
    refused('GET / http/1.1\r\n\r\n', 'bad-line');
    refused('PRI * HTTP/2.0\r\n\r\n', 'bad-version');
    refused('DELETE / HTTP/1.1\r\nHost: a\r\n\r\n', 'method-not-allowed');
    refused('BREW / HTTP/1.1\r\nHost: a\r\n\r\n', 'method-unknown');
    refused('GET * HTTP/1.1\r\nHost: a\r\n\r\n', 'bad-target');
    refused(`GET /${'a'.repeat(5000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'uri-too-long');
    refused(`GET /${'a'.repeat(1100)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'uri-too-long');
    refused(`GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(70)}\r\n`, 'head-too-large');
    refused('GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n', 'bad-expectation');
  });

  test('every prefix is refused, never misread', () => {
    for (const text of [IPXE, OVMF, GRUB, CURL]) {
      for (let end = 0; end < text.length; end++) {
        assert.throws(() => head(text.slice(0, end)), DecodeError);
      }
    }
  });

  test('10^5 mutations: decoded within the rules, or refused with a known code', () => {
    const random = generator(0x417e);
    const texts = [IPXE, OVMF, GRUB, CURL].map((t) => Buffer.from(t, 'latin1'));
    let decoded = 0;
    for (let n = 0; n < 100_000; n++) {
      const bytes = Buffer.from(texts[n % texts.length] ?? Buffer.alloc(0));
      for (let k = random() % 4; k >= 0; k--) bytes[random() % bytes.length] = random() & 255;
      try {
        const { target, contentLength } = decodeHead(bytes);
        decoded += 1;
        assertSafePath(target.path);
        assert.ok(contentLength >= 0 && contentLength <= LIMITS.bodyBytes);
      } catch (e) {
        assert.ok(e instanceof DecodeError && refusalOf(e) !== undefined, String(e));
      }
    }
    assert.ok(decoded > 10_000, `${decoded} decoded: the mutations are too wild to mean much`);
  });
});

suite('request target', () => {
  test('decoded once, and still below the root', () => {
    const paths = {
      '/': '/',
      '//a///b': '/a/b',
      '/a/./b/': '/a/b/',
      '/%41%20b': '/A b',
      '/%E2%82%AC': '/€',
      '/a%2525': '/a%25',
      'http://h': '/',
      'http://h?x=1': '/',
      'https://h:1/a': '/a',
    };
    for (const [raw, path] of Object.entries(paths)) assert.equal(decodeTarget(raw).path, path);
  });

  test('traversal in every spelling is refused', () => {
    const attacks = [
      '/../etc/passwd',
      '/a/../../b',
      '/..',
      '/%2e%2e/x',
      '/.%2E/x',
      '/a%2fb',
      '/a%2F..%2Fb',
      '/a%5cb',
      '/a\\..\\b',
      '/%00',
      '/a%0ab',
      '/a%c2%85',
      '/%c0%ae%c0%ae/x',
      '/%zz',
      '/%',
      '/a#b',
      '/é',
      'a',
      '',
      'ftp://h/a',
    ];
    for (const attack of attacks) {
      assert.throws(() => decodeTarget(attack), { code: 'bad-target' }, attack);
    }
  });

  test('property: any target gives a safe path or a refusal', () => {
    const part = fc.constantFrom('..', '%2e', '%2F', '%5c', '\\', '/', 'a', '%00', '.', '%25', '?');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        try {
          assertSafePath(decodeTarget(`/${parts.join('')}`).path);
        } catch (e) {
          assert.ok(e instanceof DecodeError, String(e));
        }
      }),
      { seed: 7, numRuns: 5000 },
    );
  });
});

suite('range', () => {
  const size = 1000;
  const part = (startBytes: number, lengthBytes: number) =>
    ({ kind: 'part', startBytes, lengthBytes }) as const;
  const whole = { kind: 'whole' } as const;
  const none = { kind: 'unsatisfiable' } as const;

  test('single ranges', () => {
    assert.deepEqual(decideRange('bytes=0-0', size), part(0, 1));
    assert.deepEqual(decideRange('bytes=0-499', size), part(0, 500));
    assert.deepEqual(decideRange('bytes=999-', size), part(999, 1));
    assert.deepEqual(decideRange('bytes=500-5000', size), part(500, 500));
    assert.deepEqual(decideRange('bytes=-1', size), part(999, 1));
    assert.deepEqual(decideRange('bytes=-5000', size), part(0, 1000));
    assert.deepEqual(decideRange('Bytes = 1-2', size), part(1, 2));
  });

  test('what cannot be satisfied, and what is no range', () => {
    assert.deepEqual(decideRange('bytes=1000-', size), none);
    assert.deepEqual(decideRange('bytes=-0', size), none);
    assert.deepEqual(decideRange('bytes=0-', 0), none);
    for (const bad of ['bytes=-', 'bytes=5-2', 'lines=0-1', 'bytes=a-b', 'bytes=0-1-2', '']) {
      assert.deepEqual(decideRange(bad, size), whole, bad);
    }
    assert.deepEqual(decideRange(`bytes=0-${'9'.repeat(400)}`, size), whole);
  });

  test('Range abuse: a thousand ranges are one whole body', () => {
    assert.deepEqual(decideRange(`bytes=${'0-0,'.repeat(1000)}0-0`, size), whole);
  });

  test('property: a part lies inside the body', () => {
    const range = fc.tuple(fc.nat(2000), fc.option(fc.nat(2000)), fc.nat(2000));
    fc.assert(
      fc.property(range, ([first, last, bytes]) => {
        const answer = decideRange(`bytes=${first}-${last ?? ''}`, bytes);
        if (answer.kind !== 'part') return;
        assert.equal(answer.startBytes, first);
        assert.ok(answer.lengthBytes > 0 && first + answer.lengthBytes <= bytes);
      }),
      { seed: 11 },
    );
  });
});

suite('conditions', () => {
  const etag = '"abc"';
  const modifiedMs = Date.UTC(2026, 10, 21, 22, 0, 0) + 345;
  const when = formatHttpDate(modifiedMs);
  const later = formatHttpDate(modifiedMs + 5000);
  const earlier = formatHttpDate(modifiedMs - 5000);
  const decide = (fields: Record<string, string>): string =>
    decideCondition(new Map(Object.entries(fields)), { etag, modifiedMs });

  test('in the order of RFC 9110 §13.2.2', () => {
    assert.equal(decide({}), 'go');
    assert.equal(decide({ 'if-none-match': etag }), 'not-modified');
    assert.equal(decide({ 'if-none-match': `W/${etag}` }), 'not-modified');
    assert.equal(decide({ 'if-none-match': '"x", "abc"' }), 'not-modified');
    assert.equal(decide({ 'if-none-match': '*' }), 'not-modified');
    assert.equal(decide({ 'if-none-match': '"x"', 'if-modified-since': later }), 'go');
    assert.equal(decide({ 'if-modified-since': when }), 'not-modified');
    assert.equal(decide({ 'if-modified-since': earlier }), 'go');
    assert.equal(decide({ 'if-modified-since': 'yesterday' }), 'go');
    assert.equal(decide({ 'if-match': '"x"' }), 'failed');
    assert.equal(decide({ 'if-match': `W/${etag}` }), 'failed');
    assert.equal(decide({ 'if-match': etag }), 'go');
    assert.equal(decide({ 'if-unmodified-since': earlier }), 'failed');
    assert.equal(decide({ 'if-unmodified-since': when }), 'go');
  });

  test('If-Range: strong tag, or exactly our date', () => {
    const validators = { etag, modifiedMs };
    const now = modifiedMs + 60_000;
    assert.ok(rangeStillValid(etag, validators, now));
    assert.ok(rangeStillValid(when, validators, now));
    assert.ok(!rangeStillValid(`W/${etag}`, validators, now));
    assert.ok(!rangeStillValid('"other"', validators, now));
    assert.ok(!rangeStillValid(later, validators, now));
    assert.ok(!rangeStillValid(when, validators, modifiedMs + 200), 'changed in this second');
  });

  test('dates', () => {
    assert.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT'), 784_111_777_000);
    assert.equal(parseHttpDate('1994-11-06'), undefined);
    assert.equal(parseHttpDate('x'.repeat(1000)), undefined);
  });
});

suite('answers', () => {
  const body = { sizeBytes: 100, contentType: 'application/efi', etag: '"e"', modifiedMs: 0 };
  const fields = (plan: ReturnType<typeof planBody>): Record<string, string> =>
    Object.fromEntries(plan.fields);

  test('HEAD tells the whole length and sends nothing, even with a Range', () => {
    const plan = planBody('HEAD', new Map([['range', 'bytes=0-9']]), body, 0);
    assert.deepEqual([plan.status, plan.contentLength, plan.lengthBytes], [200, 100, 0]);
  });

  test('206, 416 and 304 carry what they must', () => {
    const part = planBody('GET', new Map([['range', 'bytes=90-']]), body, 0);
    assert.deepEqual([part.status, part.contentLength, part.startBytes], [206, 10, 90]);
    assert.equal(fields(part)['Content-Range'], 'bytes 90-99/100');
    const beyond = planBody('GET', new Map([['range', 'bytes=100-']]), body, 0);
    assert.deepEqual([beyond.status, beyond.contentLength], [416, 0]);
    assert.equal(fields(beyond)['Content-Range'], 'bytes */100');
    const same = planBody('GET', new Map([['if-none-match', '"e"']]), body, 0);
    assert.deepEqual([same.status, same.contentLength, same.lengthBytes], [304, undefined, 0]);
    assert.equal(fields(same)['ETag'], '"e"');
  });

  test('a stale If-Range gives the whole', () => {
    const headers = new Map([
      ['range', 'bytes=0-9'],
      ['if-range', '"old"'],
    ]);
    assert.equal(planBody('GET', headers, body, 0).status, 200);
  });

  test('no value can end its line', () => {
    const plan = {
      status: 302,
      fields: [['Location', '/a\r\nSet-Cookie: x']] as const,
      contentLength: 0,
      startBytes: 0,
      lengthBytes: 0,
    };
    const text = encodeHead(plan, 'now', true).toString('latin1');
    assert.match(text, /^HTTP\/1\.1 302 Found\r\n/);
    assert.match(text, /Location: \/a\?\?Set-Cookie: x\r\n/);
    assert.ok(text.endsWith('Connection: keep-alive\r\n\r\n'));
  });
});

function assertSafePath(path: string): void {
  assert.match(path, /^\//);
  assert.ok(!path.split('/').includes('..'), path);
  assert.ok(!/[\x00-\x1f\\]/.test(path), JSON.stringify(path));
  assert.ok(!path.includes('//'), path);
}
