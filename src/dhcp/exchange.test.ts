import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bench, bytesOf, ip, ipxeOptions, macOf, pxeOptions, SERVER } from './fixtures.ts';
import { text, u16, u32, u8 } from './options/basic.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import { HEADER } from './packet.ts';
import { probeDiscover } from './probe.ts';

const TFTP = { kind: 'tftp', file: 'boot.file' } as const;
const FROM = { address: '0.0.0.0', port: 68 };
const { discover, request, decline, release, inform, nak, ack } = MESSAGE;

function wanted(address: string): [number, Uint8Array] {
  return [OPTION.requestedAddress, u32(ip(address))];
}

function server(address: string): [number, Uint8Array] {
  return [OPTION.serverIdentifier, u32(ip(address))];
}

function typeOf(answer: ReturnType<Bench['answer']>): number | undefined {
  return answer?.packet.options.get(OPTION.messageType)?.[0];
}

test('DISCOVER, OFFER, REQUEST, ACK, with the subnet and no boot file for a system', () => {
  const bench = new Bench({ boot: () => TFTP });
  const answer = bench.dora(macOf(1));
  assert.equal(typeOf(answer), ack);
  const { packet } = answer!;
  assert.equal(packet.yiaddr, ip('10.77.0.50'));
  assert.deepEqual(packet.options.get(OPTION.subnetMask), Buffer.from([255, 255, 255, 0]));
  assert.deepEqual(packet.options.get(OPTION.leaseTime), Buffer.from(u32(600)));
  assert.equal(packet.file, '');
  assert.equal(bench.asked.length, 0, 'the policy is not asked for systems');
  assert.deepEqual(bench.kinds(), ['discover', 'offer', 'request', 'ack']);
  assert.equal(bench.records.length, 1);
});

test('adversary 4: REQUESTs out of nowhere meet the same guards as DISCOVERs', () => {
  const known = macOf(0xffff);
  const bench = new Bench({ reservations: { [known]: {} }, network: { strangersPerSecond: 4 } });
  const stranger = (n: number): boolean => {
    const options = [wanted(`10.77.0.${50 + (n % 50)}`), server(SERVER)];
    return typeOf(bench.answer({ mac: macOf(n), type: request, options })) === ack;
  };
  const taken = (from: number, to: number): number => {
    let count = 0;
    for (let n = from; n < to; n++) if (stranger(n)) count += 1;
    return count;
  };
  assert.equal(taken(0, 50), 20, 'the burst of five seconds');
  bench.clock.advance(5000);
  assert.equal(taken(50, 100), 20, 'and again');
  bench.clock.advance(5000);
  assert.equal(taken(100, 150), 4, 'an eighth of the pool is left for known machines');
  assert.equal(typeOf(bench.dora(known)), ack);
});

test('who got no answer is known, in either mode', () => {
  const mac = macOf(7);
  const full = new Bench({ pool: [{ first: '10.77.0.50', last: '10.77.0.50' }] });
  full.dora(macOf(1));
  const told = { kind: 'drop', who: { interface: 'br0', mac, xid: 0x1234 } };
  const refused = full.receive({ mac, type: discover });
  assert.deepEqual(refused, { ...told, reason: 'no-free-address' });
  const proxy = new Bench({ network: { mode: 'proxy' }, boot: () => TFTP });
  const strange = proxy.receive({ mac, type: discover, options: pxeOptions(0x7777) });
  assert.deepEqual(strange, { ...told, reason: 'unknown-architecture' });
});

test('a fixed address and a host name by MAC', () => {
  const reservations = { [macOf(9)]: { address: '10.77.0.9', hostName: 'nine' } };
  const answer = new Bench({ reservations }).dora(macOf(9));
  assert.equal(answer?.packet.yiaddr, ip('10.77.0.9'));
  assert.deepEqual(answer.packet.options.get(OPTION.hostName), Buffer.from('nine'));
});

test('our own address, a router’s and the network’s are nobody’s, whatever was laid down', () => {
  for (const address of [SERVER, '10.77.0.0', '10.77.0.255', '10.78.0.9']) {
    const bench = new Bench({ reservations: { [macOf(9)]: { address } } });
    assert.equal(bench.dora(macOf(9))?.packet.yiaddr, ip('10.77.0.50'), address);
    const options = [wanted(address), server(SERVER)];
    assert.equal(typeOf(bench.answer({ mac: macOf(9), type: request, options })), nak);
  }
});

/** RFC 2131 §2, figure 1. */
const GIADDR_AT = 24;

test('the search for servers of this host is not heard by itself, and by others it is', () => {
  const bytes = probeDiscover(7, Buffer.from('020102030405', 'hex'));
  for (const mode of ['server', 'proxy'] as const) {
    const hostAddresses = ['10.77.0.3', SERVER];
    const boot = { kind: 'tftp', file: 'undionly.kpxe' } as const;
    const bench = new Bench({ network: { mode, hostAddresses }, boot: () => boot });
    const heard = (address: string): string =>
      bench.exchange.receive(bytes, { address, port: 68 }, 67).kind;
    for (const own of hostAddresses) assert.equal(heard(own), 'drop', `${mode} ${own}`);
    assert.deepEqual(bench.events, [], 'and no boot is seen in it');
    assert.equal(heard('10.77.0.2'), 'send', mode);
    bytes.set([10, 77, 0, 254], GIADDR_AT);
    assert.equal(heard(SERVER), 'send', 'by a relay on this host it is somebody else’s');
    bytes.fill(0, GIADDR_AT, GIADDR_AT + 4);
    const client = bench.receive({ options: pxeOptions(0) }, 67, SERVER);
    assert.equal(client.kind, 'send', 'only the search is marked');
  }
});

test('firmware, iPXE and the system of one machine share an address by MAC', () => {
  const bench = new Bench();
  const as = (id: string): number | undefined =>
    bench.dora(macOf(1), [[OPTION.clientIdentifier, Buffer.from(id, 'hex')]])?.packet.yiaddr;
  assert.equal(as('00aabbccddeeff00112233445566778899'), ip('10.77.0.50'));
  assert.equal(as('01525400000001'), ip('10.77.0.50'));
  const apart = new Bench({ network: { identity: 'client-id' } });
  const two = ['0101', '0202'].map(
    (id) => apart.dora(macOf(1), [[61, Buffer.from(id, 'hex')]])?.packet.yiaddr,
  );
  assert.notEqual(two[0], two[1]);
});

test('iPXE at the real server: URL, and no wait for a proxy', () => {
  const bench = new Bench({ boot: (r) => ({ kind: 'url', url: `http://${SERVER}/${r.stage}` }) });
  const answer = bench.dora(macOf(1), ipxeOptions());
  assert.equal(answer?.packet.file, `http://${SERVER}/ipxe`);
  assert.deepEqual(answer.packet.options.get(175), Buffer.from([176, 1, 1, 255]));
  assert.equal(bench.asked[0]?.arch, 0);
  assert.equal(bench.asked[1]?.clientAddress, '10.77.0.50');
});

test('the loop is broken: the same machine gets the loader first and then the script', () => {
  const bench = new Bench({
    boot: (r) => (r.stage === 'ipxe' ? { kind: 'url', url: 'http://x/s' } : TFTP),
  });
  assert.equal(bench.dora(macOf(1), pxeOptions(7))?.packet.file, 'boot.file');
  assert.equal(bench.dora(macOf(1), ipxeOptions(7))?.packet.file, 'http://x/s');
  const counted: [number, Uint8Array][] = [...pxeOptions(7), [77, text('\u0004gPXE')]];
  assert.equal(bench.dora(macOf(1), counted)?.packet.file, 'http://x/s');
});

test('adversary 1: 100,000 mutated requests get no reply they should not, and never throw', () => {
  const bench = new Bench({ boot: () => TFTP });
  const seeds = [
    bytesOf({ options: ipxeOptions() }),
    bytesOf({ type: 3, options: [wanted('10.77.0.50')] }),
  ];
  let state = 5;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  const reasons = new Map<string, number>();
  for (let n = 0; n < 100_000; n++) {
    const bytes = Buffer.from(seeds[n & 1]!);
    for (let k = 0; k < 3; k++) bytes[random(bytes.length)] = random(256);
    const outcome = bench.exchange.receive(bytes, FROM, n % 5 === 0 ? 4011 : 67);
    const name = outcome.kind === 'drop' ? outcome.reason : outcome.kind;
    reasons.set(name, (reasons.get(name) ?? 0) + 1);
    if (outcome.kind === 'commit') bench.exchange.settle(outcome.pending, 'failed');
    bench.events.length = 0;
    bench.asked.length = 0;
  }
  for (const name of ['malformed', 'not-a-request', 'send', 'bad-relay', 'unknown-relay']) {
    assert.ok((reasons.get(name) ?? 0) > 10, `${name}: ${reasons.get(name)}`);
  }
  assert.ok(bench.site.subnets[0]!.table.counts().offered <= 50);
});

test('adversary 2: replies, empty type, no hardware address are dropped by reason', () => {
  const bench = new Bench();
  const drops = (bytes: Buffer): string => {
    const outcome = bench.exchange.receive(bytes, FROM, 67);
    return outcome.kind === 'drop' ? outcome.reason : outcome.kind;
  };
  const spoilt = (at: number, value: number): Buffer => {
    const bytes = bytesOf({});
    bytes[at] = value;
    return bytes;
  };
  assert.equal(drops(Buffer.alloc(0)), 'malformed');
  assert.equal(drops(spoilt(HEADER.op, 2)), 'not-a-request');
  assert.equal(drops(spoilt(HEADER.hlen, 0)), 'no-hardware-address');
  assert.equal(drops(spoilt(HEADER.hlen, 200)), 'malformed');
  assert.equal(drops(bytesOf({ options: [[53, Uint8Array.of()]] })), 'no-message-type');
  assert.equal(drops(bytesOf({ type: 2 })), 'not-a-request');
  assert.equal(drops(bytesOf({ type: 99 })), 'not-a-request');
  assert.equal(
    drops(
      bytesOf({
        options: [
          [93, Uint8Array.of()],
          [97, Uint8Array.of()],
        ],
      }),
    ),
    'send',
  );
});

test('adversary 3: relays: own, loopback, foreign, going in circles', () => {
  const bench = new Bench();
  const drops = (giaddr: string, hops = 0): string => {
    const bytes = bytesOf({ giaddr });
    bytes[HEADER.hops] = hops;
    const outcome = bench.exchange.receive(bytes, { address: giaddr, port: 67 }, 67);
    return outcome.kind === 'drop' ? outcome.reason : outcome.kind;
  };
  for (const bad of [SERVER, '127.0.0.1', '224.0.0.1', '255.255.255.255', '0.0.0.9']) {
    assert.equal(drops(bad), 'bad-relay', bad);
  }
  assert.equal(drops('192.168.1.1'), 'unknown-relay');
  assert.equal(drops('10.77.0.2', 17), 'relay-loop');
  assert.equal(drops('10.77.0.2', 16), 'send');
});

test('adversary 4: 100,000 strangers in a minute; a known machine is served at once', () => {
  const reservations = { [macOf(0xffffff)]: {} };
  const pool = [{ first: '10.77.0.10', last: '10.77.0.250' }];
  const bench = new Bench({ reservations, pool, network: { strangersPerSecond: 10 } });
  const reasons = new Map<string, number>();
  for (let n = 0; n < 100_000; n++) {
    const outcome = bench.receive({ mac: macOf(n), type: discover });
    const name = outcome.kind === 'drop' ? outcome.reason : outcome.kind;
    reasons.set(name, (reasons.get(name) ?? 0) + 1);
    bench.events.length = 0;
    if (n % 5000 === 0) bench.clock.advance(3000);
  }
  assert.ok((reasons.get('rate-limited') ?? 0) > 90_000);
  assert.ok((reasons.get('send') ?? 0) >= 600);
  assert.equal(typeOf(bench.dora(macOf(0xffffff))), ack);
});

test('adversary 5: a proxy never gives an address, whatever is asked', () => {
  const bench = new Bench({ network: { mode: 'proxy' }, boot: () => TFTP });
  for (const type of [discover, request, decline, release, inform]) {
    for (const options of [[], pxeOptions(0), pxeOptions(7), ipxeOptions()]) {
      for (const port of [67, 4011]) {
        const answer = bench.answer({ type, ciaddr: '10.77.0.5', options }, port, '10.77.0.5');
        assert.equal(answer?.packet.yiaddr ?? 0, 0);
        assert.equal(answer?.packet.options.has(OPTION.leaseTime) ?? false, false);
      }
    }
  }
  assert.equal(bench.site.subnets[0]!.table.counts().offered, 0);
});

test('adversary 5: another server is noticed by its OFFER and by a REQUEST to it, once', () => {
  const bench = new Bench();
  bench.receive({ type: request, options: [wanted('10.77.0.50'), server('10.77.0.254')] });
  bench.receive({ type: request, options: [wanted('10.77.0.50'), server('10.77.0.254')] });
  const offer = bytesOf({ type: MESSAGE.offer, options: [server('10.77.0.253')] });
  offer[HEADER.op] = 2;
  offer.writeUInt32BE(ip('10.77.0.77'), HEADER.yiaddr);
  bench.exchange.overheard(offer);
  bench.exchange.overheard(offer.subarray(0, 100));
  const found = bench.events.filter((e) => e.kind === 'foreign-server');
  assert.deepEqual(
    found.map((e) => [e.server, e.seenBy]),
    [
      ['10.77.0.254', 'request'],
      ['10.77.0.253', 'offer'],
    ],
  );
});

test('adversary 6: DECLINE moves the client on; the fourth is only counted', () => {
  const bench = new Bench();
  const seen = new Set<number>();
  for (let n = 0; n < 4; n++) {
    const address = bench.dora(macOf(1))?.packet.yiaddr ?? 0;
    assert.ok(!seen.has(address));
    seen.add(address);
    const options: [number, Uint8Array][] = [[50, u32(address)], server(SERVER)];
    const outcome = bench.receive({ type: decline, options });
    assert.equal(outcome.kind, n < 3 ? 'record' : 'drop');
  }
  const unknown = bench.receive({ mac: macOf(7), type: decline, options: [wanted('10.77.0.60')] });
  assert.partialDeepStrictEqual(unknown, { kind: 'drop', reason: 'unknown-lease' });
});

test('adversary 7: NAK only where it is provable, silence otherwise', () => {
  const bench = new Bench();
  bench.dora(macOf(1));
  const reboot = (mac: string, address: string): unknown => {
    const outcome = bench.receive({ mac, type: request, options: [wanted(address)] });
    return outcome.kind === 'send'
      ? 'nak'
      : outcome.kind === 'drop'
        ? outcome.reason
        : outcome.kind;
  };
  assert.equal(reboot(macOf(1), '10.77.0.50'), 'commit', 'its own');
  assert.equal(reboot(macOf(1), '10.77.0.51'), 'nak', 'its own is another');
  assert.equal(reboot(macOf(2), '10.77.0.50'), 'nak', "another's");
  assert.equal(reboot(macOf(2), '10.77.0.60'), 'unknown-lease', 'we know nothing of it');
  assert.equal(reboot(macOf(2), '10.77.0.200'), 'unknown-lease', 'in the network, not in the pool');
  assert.equal(reboot(macOf(2), '192.168.0.9'), 'nak', 'wrong network');
  const other = bench.receive({
    type: request,
    options: [wanted('10.77.0.50'), server('10.9.9.9')],
  });
  assert.partialDeepStrictEqual(other, { kind: 'drop', reason: 'other-server-chosen' });
  const guest = new Bench({ authoritative: false });
  const foreign = guest.receive({ type: request, options: [wanted('192.168.0.9')] });
  assert.equal(foreign.kind, 'drop');
});

test('adversary 7: an expired lease is renewed while free, and refused once it is another one’s', () => {
  const bench = new Bench({
    pool: [{ first: '10.77.0.50', last: '10.77.0.50' }],
    leaseSeconds: 60,
  });
  bench.dora(macOf(1));
  const renew = (mac: string): number | undefined =>
    typeOf(bench.answer({ mac, type: request, ciaddr: '10.77.0.50' }));
  bench.clock.advance(100_000);
  assert.equal(renew(macOf(1)), ack);
  bench.clock.advance(100_000);
  assert.equal(typeOf(bench.dora(macOf(2))), ack);
  assert.equal(renew(macOf(1)), nak);
});

test('a running machine keeps its address when the owner lays down another; a reboot moves it', () => {
  const reservations: Record<string, { address?: string }> = {};
  const bench = new Bench({ reservations });
  bench.dora(macOf(1));
  reservations[macOf(1)] = { address: '10.77.0.9' };
  assert.equal(typeOf(bench.answer({ type: request, ciaddr: '10.77.0.50' })), ack);
  assert.equal(typeOf(bench.answer({ type: request, options: [wanted('10.77.0.50')] })), nak);
  assert.equal(bench.dora(macOf(1))?.packet.yiaddr, ip('10.77.0.9'));
});

test('adversary 8: no ACK without a durable lease; the same address when it works again', () => {
  const bench = new Bench();
  bench.answer({ type: discover });
  const ask = { type: request, options: [wanted('10.77.0.50'), server(SERVER)] };
  const first = bench.receive(ask);
  assert.equal(first.kind, 'commit');
  assert.equal(
    first.kind === 'commit' && bench.exchange.settle(first.pending, 'failed'),
    undefined,
  );
  assert.ok(!bench.kinds().includes('ack'));
  assert.equal(bench.site.subnets[0]!.table.counts().active, 0);
  assert.equal(bench.answer(ask)?.packet.yiaddr, ip('10.77.0.50'));
});

test('adversary 9: the shared store gave the address to another server: the loser re-offers', () => {
  const bench = new Bench();
  bench.answer({ type: discover });
  const outcome = bench.receive({ type: request, options: [wanted('10.77.0.50'), server(SERVER)] });
  assert.equal(
    outcome.kind === 'commit' && bench.exchange.settle(outcome.pending, 'conflict'),
    undefined,
  );
  assert.equal(bench.answer({ type: discover })?.packet.yiaddr, ip('10.77.0.51'));
});

test('adversary 10: an unknown architecture gets an address, no file, and is told of', () => {
  const bench = new Bench({ boot: () => TFTP });
  const options = pxeOptions(0x4242);
  assert.equal(bench.dora(macOf(1), options)?.packet.file, '');
  assert.ok(bench.events.some((e) => e.kind === 'dropped' && e.reason === 'unknown-architecture'));
  const proxy = new Bench({ network: { mode: 'proxy' }, boot: () => TFTP });
  assert.partialDeepStrictEqual(proxy.receive({ options }), {
    kind: 'drop',
    reason: 'unknown-architecture',
  });
  for (const arch of [0, 6, 7, 9, 11, 0x10, 0x13]) {
    assert.equal(bench.dora(macOf(2), pxeOptions(arch))?.packet.file, 'boot.file', `${arch}`);
  }
});

test('adversary 10: malformed 77, 43 and 175 do not keep a machine from booting', () => {
  const bench = new Bench({ boot: () => TFTP });
  const options: [number, Uint8Array][] = [
    ...pxeOptions(7),
    [77, Uint8Array.of(200, 1, 2)],
    [43, Uint8Array.of(71, 200)],
    [175, Uint8Array.of(1)],
  ];
  assert.equal(bench.dora(macOf(1), options)?.packet.file, 'boot.file');
  const four = bench.answer({ type: request, ciaddr: '10.77.0.50', options }, 4011, '10.77.0.50');
  assert.equal(four?.packet.file, 'boot.file');
});

test('adversary 11: a reply keeps to the client limit by giving up the least, never the relay', () => {
  const relay = Buffer.alloc(255, 9);
  const id = Buffer.alloc(30, 1);
  const bench = new Bench({ boot: () => TFTP });
  const answer = bench.answer({
    giaddr: '10.77.0.2',
    options: [[82, relay], [61, id], ...pxeOptions(0).filter(([c]) => c !== 57)],
  });
  assert.ok(answer !== undefined && answer.bytes.length <= 548, `${answer?.bytes.length} bytes`);
  assert.deepEqual(Buffer.from(answer.packet.options.get(82) ?? []), relay);
  assert.equal(answer.packet.options.has(OPTION.tftpServerName), false);
  assert.equal(answer.packet.file, 'boot.file');
  const asked = bench.answer({
    mac: macOf(2),
    giaddr: '10.77.0.2',
    options: [[82, relay], [61, id], [57, u16(1472)], ...pxeOptions(0)],
  });
  assert.equal(asked?.packet.options.has(OPTION.tftpServerName), true);
});

test('RELEASE frees the address for others at last, and only the holder can', () => {
  const bench = new Bench();
  bench.dora(macOf(1));
  const free = { type: release, ciaddr: '10.77.0.50', options: [server(SERVER)] };
  assert.equal(bench.receive({ ...free, mac: macOf(2) }).kind, 'drop');
  assert.equal(bench.receive(free).kind, 'record');
  assert.equal(bench.site.subnets[0]!.table.counts().active, 0);
});

test('INFORM: options and no lease, to the address of the client', () => {
  const bench = new Bench();
  const answer = bench.answer({ type: inform, ciaddr: '10.77.0.20' });
  assert.equal(typeOf(answer), ack);
  assert.equal(answer?.packet.yiaddr, 0);
  assert.equal(answer.packet.options.has(OPTION.leaseTime), false);
  assert.deepEqual(answer.to, { address: '10.77.0.20', port: 68 });
});

test('proxy: the three schools and the answer on 4011', () => {
  const bench = new Bench({ network: { mode: 'proxy' }, boot: () => TFTP });
  const offer = (arch: number): ReturnType<Bench['answer']> =>
    bench.answer({ type: discover, options: pxeOptions(arch) });
  const bios = offer(0);
  assert.equal(bios?.packet.file, 'boot.file');
  assert.equal(bios.packet.sname, SERVER);
  assert.deepEqual(bios.packet.options.get(43), Buffer.from([6, 1, 8, 255]));
  assert.deepEqual(bios.packet.options.get(60), Buffer.from('PXEClient'));
  assert.deepEqual(bios.to, { address: '255.255.255.255', port: 68 });
  assert.equal(bios.packet.flags & 0x8000, 0x8000);
  bench.schools.set(macOf(1), 'boot-server');
  const uefi = offer(7);
  assert.equal(uefi?.packet.file, '');
  assert.equal(uefi.packet.options.has(43), false);
  bench.schools.set(macOf(1), 'binl');
  assert.equal(offer(7)?.packet.file, 'boot.file');
  const at4011 = bench.answer(
    {
      type: request,
      ciaddr: '10.77.0.5',
      options: [...pxeOptions(7), [43, Buffer.from('470480000000ff', 'hex')]],
    },
    4011,
    '10.77.0.5',
  );
  assert.equal(typeOf(at4011), ack);
  assert.equal(at4011?.packet.file, 'boot.file');
  assert.deepEqual(at4011.to, { address: '10.77.0.5', port: 4011 });
  assert.deepEqual(at4011.packet.options.get(43), Buffer.from('470480000000ff', 'hex'));
});

test('proxy: systems, REQUESTs to the real server and machines without a plan get nothing', () => {
  const bench = new Bench({ network: { mode: 'proxy' } });
  assert.partialDeepStrictEqual(bench.receive({ type: discover }), {
    kind: 'drop',
    reason: 'not-for-us',
  });
  const asked = bench.receive({ type: request, options: pxeOptions(0) });
  assert.partialDeepStrictEqual(asked, { kind: 'drop', reason: 'not-for-us' });
  const plain = bench.receive({ type: discover, options: pxeOptions(0) });
  assert.partialDeepStrictEqual(plain, { kind: 'drop', reason: 'nothing-to-boot' });
});

test('mode off answers nothing', () => {
  const bench = new Bench({ network: { mode: 'off' }, boot: () => TFTP });
  assert.equal(bench.receive({ options: pxeOptions(0) }).kind, 'drop');
});

test('prepared replies equal those made the slow way, byte for byte', () => {
  const lists = [undefined, [1, 3, 6], [1, 51, 58, 59], [42, 15]];
  for (const list of lists) {
    for (const id of [undefined, '01525400000001', `ff${'ab'.repeat(40)}`]) {
      for (const host of [undefined, 'named']) {
        const options: [number, Uint8Array][] = [];
        if (list !== undefined) options.push([55, Uint8Array.from(list)]);
        if (id !== undefined) options.push([61, Buffer.from(id, 'hex')]);
        const reservations = { [macOf(1)]: host === undefined ? {} : { hostName: host } };
        const fast = new Bench({ reservations });
        const twice = [fast.dora(macOf(1), options), fast.dora(macOf(1), options)];
        const slow = new Bench({ reservations });
        slow.site.subnets[0]!.prepared.encode = () => undefined;
        assert.deepEqual(twice[0]?.bytes, slow.dora(macOf(1), options)?.bytes);
        assert.deepEqual(twice[0]?.bytes, twice[1]?.bytes);
        const flags = { options: [...options, [54, u8(0)] as [number, Uint8Array]], flags: 0x8000 };
        assert.deepEqual(fast.answer(flags)?.bytes, slow.answer(flags)?.bytes);
      }
    }
  }
});
