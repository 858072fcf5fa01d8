import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader, ByteWriter, Counters, DecodeError, FakeClock, crc32c } from '#base/mod.ts';
import { formatBytes, formatIpv4, formatMac, macBytes, normalizeMac } from '#base/mod.ts';
import { parseCidr, parseIpv4, parseSize, printable, serialAdd, serialBefore } from '#base/mod.ts';

test('crc32c: the vectors of RFC 7143 appendix A.4', () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

test('crc32c: any split gives the same sum', () => {
  const data = Buffer.from(Array.from({ length: 100 }, (_, i) => (i * 37) & 255));
  const whole = crc32c(data);
  for (let at = 0; at <= data.length; at++) {
    assert.equal(crc32c(data, at, data.length - at, crc32c(data, 0, at)), whole);
  }
});

test('cursor: what was written is read back, and an overrun says where', () => {
  const bytes = new ByteWriter(1).u8(1).u16(2).u32(0xfffffffe).text('ab').zeros(2).done();
  const r = new ByteReader(bytes, 100);
  assert.deepEqual([r.u8(), r.u16(), r.u32()], [1, 2, 0xfffffffe]);
  assert.equal(Buffer.from(r.bytes(2)).toString(), 'ab');
  assert.throws(
    () => r.u32(),
    (e) => e instanceof DecodeError && e.offset === 109,
  );
  assert.throws(() => r.end(), { code: 'trailing-bytes' });
  r.skip(2);
  r.end();
});

test('serial arithmetic wraps', () => {
  assert.equal(serialAdd(0xffffffff, 2), 1);
  assert.ok(serialBefore(0xffffffff, 0));
  assert.ok(!serialBefore(0, 0xffffffff));
});

test('addresses', () => {
  assert.equal(normalizeMac('52-54-00-AB-cd-01'), '52:54:00:ab:cd:01');
  assert.equal(normalizeMac('5254.00ab.cd01'), '52:54:00:ab:cd:01');
  assert.equal(normalizeMac('52:54:00:ab:cd'), undefined);
  assert.equal(formatMac(macBytes('525400abcd01')), '52:54:00:ab:cd:01');
  assert.equal(formatIpv4(parseIpv4('192.168.1.254') ?? 0), '192.168.1.254');
  for (const bad of ['1.2.3', '1.2.3.256', '01.2.3.4', '1.2.3.4.5', '']) {
    assert.equal(parseIpv4(bad), undefined);
  }
  const net = parseCidr('10.77.3.9/16');
  assert.equal(formatIpv4(net?.network ?? 0), '10.77.0.0');
  assert.equal(formatIpv4(net?.broadcast ?? 0), '10.77.255.255');
  assert.equal(parseCidr('10.0.0.0/33'), undefined);
});

test('text from the network cannot move a cursor', () => {
  assert.equal(printable('a\u001b[2Jb\nc'), 'a\\x1b[2Jb\\x0ac');
  assert.equal(printable('\u202eevil'), '\\u202eevil');
  assert.equal(printable('x'.repeat(500), 10), 'xxxxxxxxxx…');
});

test('sizes', () => {
  assert.equal(parseSize('504M'), 504 * 2 ** 20);
  assert.equal(parseSize('7.5 GiB'), 7.5 * 2 ** 30);
  assert.equal(parseSize('512'), 512);
  assert.equal(parseSize('12 parsecs'), undefined);
  assert.equal(formatBytes(1536), '1.5 KiB');
});

test('a fake clock fires in order and only what is due', () => {
  const clock = new FakeClock();
  const seen: number[] = [];
  clock.after(20, () => seen.push(20));
  clock.after(10, () => {
    seen.push(10);
    clock.after(5, () => seen.push(15));
  });
  const cancel = clock.after(12, () => seen.push(12));
  cancel();
  clock.advance(19);
  assert.deepEqual(seen, [10, 15]);
  clock.advance(1);
  assert.deepEqual(seen, [10, 15, 20]);
  assert.equal(clock.pending, 0);
});

test('counters keep every declared name', () => {
  const c = new Counters(['sent', 'dropped']);
  c.inc('sent');
  assert.deepEqual(c.snapshot(), { sent: 1, dropped: 0 });
});
