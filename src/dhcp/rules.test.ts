import assert from 'node:assert/strict';
import { constants, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { destination } from './deliver.ts';
import {
  Bench,
  bytesOf,
  ip,
  macOf,
  pxeOptions,
  requestOf,
  SERVER,
  type Answer,
} from './fixtures.ts';
import { fitPacket } from './fit.ts';
import { PathStore } from './journal-file.ts';
import { text, u16, u32, u8 } from './options/basic.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import { decodePacket, HEADER } from './packet.ts';

/** Rules of RFC 2131 and its companions that no other test would miss. */

const TFTP = { kind: 'tftp', file: 'boot.file' } as const;
const { discover, request, decline, release, inform, ack, nak, offer } = MESSAGE;
const OTHER: [number, Uint8Array] = [OPTION.serverIdentifier, u32(ip('10.9.9.9'))];
const OURS: [number, Uint8Array] = [OPTION.serverIdentifier, u32(ip(SERVER))];

function wanted(address: string): [number, Uint8Array] {
  return [OPTION.requestedAddress, u32(ip(address))];
}

function typeOf(answer: Answer | undefined): number | undefined {
  return answer?.packet.options.get(OPTION.messageType)?.[0];
}

test('RFC 2132 9.3: option 52 gives away the file, the sname, or both, and not the other', () => {
  for (const [value, file, sname] of [
    [1, true, false],
    [2, false, true],
    [3, true, true],
  ] as const) {
    const bytes = bytesOf({ options: [[OPTION.overload, u8(value)]] });
    bytes.set([12, 1, 0x66, 255], HEADER.file);
    bytes.set([15, 1, 0x73, 255], HEADER.sname);
    const packet = decodePacket(bytes);
    assert.deepEqual([packet.options.has(12), packet.options.has(15)], [file, sname]);
    assert.deepEqual([packet.file === '', packet.sname === ''], [file, sname]);
  }
});

test('4.3.5: an INFORM is answered to where it came from, past a relay too', () => {
  const bench = new Bench();
  const shy = bench.answer({ type: inform }, 67, '10.77.0.20');
  assert.deepEqual(shy?.to, { address: '10.77.0.20', port: 68 });
  assert.equal(bench.answer({ type: inform }), undefined, 'nowhere to send it');
  const far = bench.answer({ type: inform, ciaddr: '10.77.0.21', giaddr: '10.77.0.254' });
  assert.deepEqual(far?.to, { address: '10.77.0.21', port: 68 });
});

test('4.3.2: a client that chose another server gives our offer back at once', () => {
  const bench = new Bench();
  bench.answer({ type: discover });
  const { table } = bench.site.subnets[0]!;
  assert.equal(table.counts().offered, 1);
  bench.receive({ type: request, options: [wanted('10.9.9.50'), OTHER] });
  assert.equal(table.counts().offered, 0);
});

test('4.3.2: who selects us and asks for what we cannot give is refused, not ignored', () => {
  const bench = new Bench();
  const answer = bench.answer({ type: request, options: [wanted('10.77.0.200'), OURS] });
  assert.equal(typeOf(answer), nak);
});

test('4.3.3, 4.3.4: DECLINE and RELEASE that name another server are not ours', () => {
  const bench = new Bench();
  const address = bench.dora(macOf(1))?.packet.yiaddr ?? 0;
  const declined = bench.receive({
    type: decline,
    options: [[OPTION.requestedAddress, u32(address)], OTHER],
  });
  assert.partialDeepStrictEqual(declined, { kind: 'drop', reason: 'other-server-chosen' });
  const released = bench.receive({ type: release, ciaddr: '10.77.0.50', options: [OTHER] });
  assert.partialDeepStrictEqual(released, { kind: 'drop', reason: 'other-server-chosen' });
  assert.equal(bench.site.subnets[0]!.table.counts().active, 1);
});

test('4.3.2: a NAK is broadcast, and behind a relay carries the flag that makes it so', () => {
  const bench = new Bench();
  const options = [wanted('192.168.0.9')];
  const near = bench.answer({ type: request, options, ciaddr: '10.77.0.9' });
  assert.deepEqual(near?.to, { address: '255.255.255.255', port: 68 });
  const far = bench.answer({ type: request, options, giaddr: '10.77.0.254' });
  assert.deepEqual(far?.to, { address: '10.77.0.254', port: 67 });
  assert.equal((far?.packet.flags ?? 0) & 0x8000, 0x8000);
  assert.equal(near?.packet.flags, 0);
  const held = requestOf({ ciaddr: '10.77.0.50' });
  assert.equal(destination(held, { yiaddr: 0, type: nak }).address, '255.255.255.255');
});

test('table 3: the ACK of a renewal has the ciaddr of its REQUEST, with and without a boot file', () => {
  for (const options of [[], pxeOptions(0)]) {
    const bench = new Bench({ boot: () => TFTP });
    bench.dora(macOf(1), options);
    const renewed = bench.answer({ type: request, ciaddr: '10.77.0.50', options });
    assert.equal(typeOf(renewed), ack);
    assert.equal(renewed?.packet.ciaddr, ip('10.77.0.50'));
    assert.deepEqual(renewed.to, { address: '10.77.0.50', port: 68 });
  }
});

test('PXE 2.1: port 4011 answers a DISCOVER by an OFFER and a REQUEST by an ACK', () => {
  const bench = new Bench({ network: { mode: 'proxy' }, boot: () => TFTP });
  const asked = (type: number): number | undefined =>
    typeOf(bench.answer({ type, options: pxeOptions(7) }, 4011, '10.77.0.20'));
  assert.deepEqual([asked(discover), asked(request), asked(inform)], [offer, ack, ack]);
});

test('RFC 3527: the subnet is that of the link selection, not of the relay’s own address', () => {
  const subnet = { pool: [], leaseSeconds: 60 };
  const pool = [{ first: '10.78.0.50', last: '10.78.0.59' }];
  const subnets = [
    { ...subnet, network: '10.77.0.0/24' },
    { ...subnet, network: '10.78.0.0/24', pool },
  ];
  const bench = new Bench({ network: { subnets } });
  const relay: [number, Uint8Array] = [82, Buffer.from('05040a4e0001', 'hex')];
  const answer = bench.answer({ type: discover, giaddr: '10.77.0.254', options: [relay] });
  assert.equal(answer?.packet.yiaddr, ip('10.78.0.50'));
  assert.deepEqual(answer.to, { address: '10.77.0.254', port: 67 });
});

test('rule 2: a name too long for the header is in 67, asked for or not; HTTP Boot always has 67', () => {
  const unasked = (options: [number, Uint8Array][]): [number, Uint8Array][] => [
    ...options.filter(([code]) => code !== OPTION.parameterRequestList),
    [OPTION.parameterRequestList, Uint8Array.of(1, 3)],
  ];
  const file = `${'x'.repeat(140)}.efi`;
  const long = new Bench({ boot: () => ({ kind: 'tftp', file }) });
  const named = long.answer({ type: discover, options: unasked(pxeOptions(7)) });
  assert.equal(named?.packet.file, '');
  assert.equal(Buffer.from(named.packet.options.get(67) ?? []).toString('latin1'), `${file}\0`);
  const url = 'http://10.77.0.1/x.efi';
  const web = new Bench({ boot: () => ({ kind: 'url', url }) });
  const http = web.answer({ type: discover, options: unasked(pxeOptions(16, 'HTTPClient')) });
  assert.equal(Buffer.from(http?.packet.options.get(67) ?? []).toString('latin1'), `${url}\0`);
});

test('rule 10: a system’s DISCOVER ends what the firmware of its machine said', () => {
  const bench = new Bench({ boot: () => TFTP });
  bench.answer({ type: discover, options: pxeOptions(0) });
  bench.answer({ type: discover });
  const answer = bench.answer({ type: request, options: [wanted('10.77.0.50'), OURS] });
  assert.equal(answer?.packet.file, '');
});

test('a fit reply gives up option 67 while the header says the same, and never without', () => {
  const packet = requestOf({ options: [[OPTION.bootFileName, text('boot.file')]] });
  packet.file = 'boot.file';
  const limitBytes = HEADER.options + 5;
  assert.deepEqual(fitPacket(packet, limitBytes), [OPTION.bootFileName]);
  const only = requestOf({ options: [[OPTION.bootFileName, text('boot.file')]] });
  assert.equal(fitPacket(only, limitBytes), undefined);
});

test('a prepared reply keeps to the client’s limit as the slow way does', () => {
  const many = [1, 3, 6, 15, 28, 51, 54];
  const dns = { domainName: 'd'.repeat(250), dnsServers: Array.from({ length: 8 }, () => SERVER) };
  const [subnet] = new Bench().site.config.subnets;
  const full = new Bench({ network: { subnets: [{ ...subnet!, ...dns }] } });
  const relay: [number, Uint8Array] = [OPTION.relayAgent, Buffer.alloc(60, 1)];
  const options: [number, Uint8Array][] = [
    [OPTION.parameterRequestList, Uint8Array.from(many)],
    [OPTION.maximumMessageSize, u16(576)],
    relay,
  ];
  const answer = full.answer({ type: discover, giaddr: '10.77.0.254', options });
  assert.ok((answer?.bytes.length ?? 999) <= 548, String(answer?.bytes.length));
  assert.deepEqual(answer?.packet.options.get(OPTION.relayAgent), relay[1]);
});

test('an address that was laid down for another: kept while the machine runs, not at its reboot', () => {
  const reservations: Record<string, { address: string }> = {};
  const bench = new Bench({ reservations });
  bench.dora(macOf(1));
  reservations[macOf(2)] = { address: '10.77.0.50' };
  bench.reserve('10.77.0.50');
  const renewal = bench.answer({ type: request, ciaddr: '10.77.0.50' });
  assert.equal(typeOf(renewal), ack, 'its root disk hangs on it');
  assert.notEqual(bench.dora(macOf(2))?.packet.yiaddr, ip('10.77.0.50'), 'one address, one user');
  const reboot = bench.answer({ type: request, options: [wanted('10.77.0.50')] });
  assert.equal(typeOf(reboot), nak);
  assert.notEqual(bench.dora(macOf(1))?.packet.yiaddr, ip('10.77.0.50'));
  assert.equal(bench.dora(macOf(2))?.packet.yiaddr, ip('10.77.0.50'));
});

test('durability contract 10: the journal is open O_DSYNC, also after it was written anew', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pb-dsync-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'leases');
  async function* content(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('head');
  }
  const file = await new PathStore(path).replace(content());
  const [fd] = readdirSync('/proc/self/fd').filter((n) => linkOf(n) === path);
  assert.ok(fd !== undefined);
  const flags = /flags:\s*0?([0-7]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  const bits = Number.parseInt(flags ?? '0', 8);
  assert.equal(bits & constants.O_DSYNC, constants.O_DSYNC);
  await file.close();
});

function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}
