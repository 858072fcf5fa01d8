import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LIMITS } from './limits.ts';
import { RequestReader, type ReadStep } from './reader.ts';

const GET = 'GET /a HTTP/1.1\r\nHost: h\r\n\r\n';
const POST = 'POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody';

/** Feeds text in pieces and collects every step but `more`; answers each request at once. */
function read(text: string, pieceBytes: number): ReadStep[] {
  const reader = new RequestReader(0);
  const steps: ReadStep[] = [];
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    reader.feed(bytes.subarray(at, at + pieceBytes), 0);
    for (;;) {
      const step = reader.next();
      if (step.kind === 'more') break;
      steps.push(step);
      if (step.kind === 'request') reader.answered(0);
      if (step.kind === 'refuse') return steps;
    }
  }
  return steps;
}

const paths = (steps: readonly ReadStep[]): string[] =>
  steps.map((s) => (s.kind === 'request' ? s.head.target.path + s.body.toString() : s.kind));

suite('request reader', () => {
  test('one byte at a time, in pieces, or all at once: the same requests', () => {
    const text = `\r\n${GET}${POST}\r\n${GET}`;
    const expected = ['/a', '/rbody', '/a'];
    for (let piece = 1; piece <= text.length; piece++) {
      assert.deepEqual(paths(read(text, piece)), expected, `pieces of ${piece}`);
    }
  });

  test('pipelined requests wait for their turn', () => {
    const reader = new RequestReader(0);
    reader.feed(Buffer.from(GET + GET), 0);
    assert.equal(reader.next().kind, 'request');
    assert.ok(reader.answering);
    assert.equal(reader.next().kind, 'more', 'not before the first is answered');
    assert.equal(reader.pendingBytes, GET.length);
    reader.answered(0);
    assert.equal(reader.next().kind, 'request');
    reader.answered(0);
    assert.ok(reader.idle);
  });

  test('Expect: 100-continue is asked for once, before the body', () => {
    const reader = new RequestReader(0);
    const [start = '', body = ''] = POST.split('\r\n\r\n');
    reader.feed(Buffer.from(`${start}\r\nExpect: 100-continue\r\n\r\n`), 0);
    assert.equal(reader.next().kind, 'continue');
    assert.equal(reader.next().kind, 'more');
    reader.feed(Buffer.from(body), 0);
    assert.equal(reader.next().kind, 'request');
  });

  test('slowloris: the time for a request runs from its first byte, whatever trickles in', () => {
    const reader = new RequestReader(0);
    reader.feed(Buffer.from('GET /a HTTP/1.1\r\n'), 1000);
    for (let ms = 2000; ms < 1000 + LIMITS.requestMs; ms += 1000) {
      reader.feed(Buffer.from('X-Slow: 1\r\n'), ms);
      assert.equal(reader.next().kind, 'more');
      assert.equal(reader.expire(ms).kind, 'more');
    }
    assert.deepEqual(reader.expire(1000 + LIMITS.requestMs), { kind: 'refuse', code: 'timeout' });
    reader.feed(Buffer.from(GET), 0);
    assert.equal(reader.next().kind, 'more', 'nothing is read after a refusal');
    assert.equal(reader.pendingBytes, 0);
  });

  test('a slow body has the same time limit; an idle connection is closed without a word', () => {
    const reader = new RequestReader(0);
    reader.feed(Buffer.from(POST.slice(0, -2)), 0);
    assert.equal(reader.next().kind, 'more');
    assert.equal(reader.expire(LIMITS.requestMs).kind, 'refuse');
    const idle = new RequestReader(0);
    assert.equal(idle.expire(LIMITS.idleMs - 1).kind, 'more');
    assert.equal(idle.expire(LIMITS.idleMs).kind, 'close');
  });

  test('1 MB of header is refused at the limit, not after it', () => {
    const cases = [
      { text: `GET /${'a'.repeat(1_000_000)}`, code: 'uri-too-long' },
      { text: `GET / HTTP/1.1\r\nX: ${'a'.repeat(1_000_000)}`, code: 'head-too-large' },
      { text: `GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(200_000)}\r\n`, code: 'head-too-large' },
    ];
    for (const { text, code } of cases) {
      const reader = new RequestReader(0);
      let fed = 0;
      let step: ReadStep = { kind: 'more' };
      while (step.kind === 'more') {
        reader.feed(Buffer.from(text.slice(fed, fed + 1000)), 0);
        fed += 1000;
        step = reader.next();
      }
      assert.deepEqual(step, { kind: 'refuse', code });
      assert.ok(fed <= LIMITS.headBytes + 2000, `${fed} bytes were taken`);
    }
  });

  test('other protocols are refused at their first line', () => {
    for (const text of ['\n', 'GET / HTTP/1.1\nHost: h\n\n', 'SSH-2.0-x\n']) {
      assert.deepEqual(paths(read(text, 1)), ['refuse'], JSON.stringify(text));
    }
  });
});
