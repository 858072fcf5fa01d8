import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, formatIpv4 } from '#base/mod.ts';
import { ConflictProber, parseArpTable } from './conflict.ts';
import { bootServerDestination } from './deliver.ts';
import { Bench, bytesOf, ip, macOf, requestOf, SERVER } from './fixtures.ts';
import { liveRecords, recordOf, restoreLeases } from './lease-records.ts';
import { LeaseTable } from './leases.ts';
import { u32 } from './options/basic.ts';
import { decodePacket, HEADER } from './packet.ts';
import { ABANDON_MS } from './offers.ts';
import { AddressPool, planSubnet } from './pool.ts';
import { probeDiscover, readProbeOffer } from './probe.ts';
import { SourceLimiter } from './rate.ts';
import { assertDisjoint, prepareSite } from './site.ts';
import { SchoolMemory } from './strategy.ts';

const NO_POLICY = {
  reservationFor: () => undefined,
  isReserved: () => false,
  bootAnswer: () => undefined,
};

test('schools: two boots that came to nothing, and the next is tried', () => {
  const schools = new SchoolMemory();
  const boots = Array.from({ length: 7 }, (_, n) => schools.choose('m', true, n, n * 1000));
  assert.deepEqual(boots, [
    'boot-server',
    'boot-server',
    'binl',
    'binl',
    'direct',
    'direct',
    'boot-server',
  ]);
  assert.equal(new SchoolMemory().choose('m', false, 1, 0), 'direct');
});

test('schools: retries of one boot count once, the same transaction a minute later again', () => {
  const schools = new SchoolMemory();
  for (const atMs of [0, 4000, 12_000, 28_000]) {
    assert.equal(schools.choose('m', true, 7, atMs), 'boot-server');
  }
  assert.equal(schools.choose('m', true, 7, 100_000), 'boot-server');
  assert.equal(schools.choose('m', true, 7, 200_000), 'binl');
});

test('schools: what worked is kept, stored and put back', () => {
  const schools = new SchoolMemory();
  for (let n = 0; n < 3; n++) schools.choose('m', true, n, 0);
  schools.fetched('m');
  schools.fetched('stranger');
  assert.deepEqual(schools.proven(), [{ mac: 'm', school: 'binl' }]);
  const again = new SchoolMemory(schools.proven());
  assert.equal(again.current('m', true), 'binl');
  for (let n = 0; n < 20; n++) {
    assert.equal(again.choose('m', true, n, 0), 'binl');
    again.fetched('m');
  }
});

test('schools: the memory is bounded, the longest unseen is forgotten', () => {
  const schools = new SchoolMemory([], 3);
  for (const mac of ['a', 'b', 'c']) schools.set(mac, 'binl');
  schools.choose('a', true, 1, 0);
  schools.set('d', 'binl');
  assert.deepEqual(
    schools.proven().map((r) => r.mac),
    ['c', 'a', 'd'],
  );
});

test('4011 answers the address of the client, or who sent the datagram', () => {
  const from = { address: '10.77.0.8', port: 1234 };
  const withAddress = requestOf({ ciaddr: '10.77.0.5' });
  assert.deepEqual(bootServerDestination(withAddress, from), { address: '10.77.0.5', port: 1234 });
  assert.deepEqual(bootServerDestination(requestOf({}), from), from);
  const nobody = { address: '0.0.0.0', port: 68 };
  assert.equal(bootServerDestination(requestOf({}), nobody).address, '255.255.255.255');
});

test('rate: a burst of five seconds, then the sustained rate, each source for itself', () => {
  const limiter = new SourceLimiter(10);
  const taken = (source: string, nowMs: number): number => {
    let count = 0;
    while (limiter.take(source, nowMs)) count += 1;
    return count;
  };
  assert.equal(taken('a', 0), 50);
  assert.equal(taken('b', 0), 50);
  assert.equal(taken('a', 1000), 10);
  assert.equal(taken('a', 500), 0, 'a clock that stands still gives nothing');
});

/** A prober over a table of nine addresses, and an ARP table that the test writes. */
function proberBench(canForget = true): {
  clock: FakeClock;
  table: LeaseTable;
  arp: Map<string, { flags: string; device: string }>;
  asked: string[];
  conflicts: string[];
  prober: ConflictProber;
} {
  const clock = new FakeClock();
  const table = new LeaseTable(new AddressPool([{ first: ip('10.0.0.1'), last: ip('10.0.0.9') }]));
  const arp = new Map<string, { flags: string; device: string }>();
  const asked: string[] = [];
  const conflicts: string[] = [];
  const prober = new ConflictProber({
    interface: 'eth0',
    table,
    clock,
    ask: (address) => asked.push(address),
    forget: (address) => canForget && arp.delete(address),
    arpTable: () =>
      [
        'IP address       HW type     Flags       HW address            Mask     Device',
        ...Array.from(
          arp,
          ([address, { flags, device }]) =>
            `${address}         0x1         ${flags}         52:54:00:00:00:77     *        ${device}`,
        ),
      ].join('\n'),
    onConflict: (address) => conflicts.push(formatIpv4(address)),
  });
  return { clock, table, arp, asked, conflicts, prober };
}

test('adversary 6: addresses in use are found by ARP, ahead of time and without waiting', () => {
  const { clock, table, arp, asked, conflicts, prober } = proberBench();
  prober.kick();
  assert.equal(asked.length, 9);
  assert.equal(asked[0], '10.0.0.1');
  arp.set('10.0.0.1', { flags: '0x2', device: 'eth0' });
  arp.set('10.0.0.2', { flags: '0x0', device: 'eth0' });
  arp.set('10.0.0.3', { flags: '0x2', device: 'other' });
  prober.kick();
  assert.equal(asked.length, 9, 'one round at a time');
  clock.advance(1000);
  assert.deepEqual(conflicts, ['10.0.0.1']);
  assert.equal(table.counts().abandoned, 1);
  assert.equal(table.upcoming().includes(ip('10.0.0.1')), false);
  prober.close();
  assert.equal(clock.pending, 0);
  assert.deepEqual([...parseArpTable('', 'eth0')], []);
});

test('an ARP entry from before the question proves no conflict', () => {
  for (const canForget of [true, false]) {
    const { clock, arp, asked, conflicts, prober } = proberBench(canForget);
    arp.set('10.0.0.4', { flags: '0x2', device: 'eth0' });
    prober.kick();
    assert.equal(asked.includes('10.0.0.4'), canForget);
    clock.advance(1000);
    assert.deepEqual(conflicts, []);
    prober.close();
  }
});

test('the ARP entry that an offer needs is no conflict', () => {
  const { clock, table, arp, conflicts, prober } = proberBench();
  prober.kick();
  const who = { client: 'a', mac: macOf(1), hostName: undefined, known: false, fixed: undefined };
  assert.equal(table.offer(who, undefined, clock.monotonicMs()), ip('10.0.0.1'));
  arp.set('10.0.0.1', { flags: '0x2', device: 'eth0' });
  prober.written(ip('10.0.0.1'));
  clock.advance(1000);
  assert.deepEqual(conflicts, []);
  assert.equal(table.standing(who, ip('10.0.0.1'), clock.monotonicMs()), 'offered');
  prober.close();
});

test('probe: a DISCOVER that leaves no trace, and the reading of what answers', () => {
  const bytes = probeDiscover(7, Buffer.from('020102030405', 'hex'));
  const packet = decodePacket(bytes);
  assert.equal(packet.flags, 0x8000);
  assert.equal(packet.options.has(50), false);
  const offer = bytesOf({ xid: 7, type: 2, options: [[54, u32(ip('10.0.0.254'))]] });
  offer[HEADER.op] = 2;
  assert.deepEqual(readProbeOffer(offer, 7), { server: '10.0.0.254', proxy: true });
  offer.writeUInt32BE(ip('10.0.0.9'), HEADER.yiaddr);
  const found = readProbeOffer(offer, 7);
  assert.deepEqual(found, { server: '10.0.0.254', proxy: false, offered: '10.0.0.9' });
  assert.equal(readProbeOffer(offer, 8), undefined);
  for (let length = 0; length < HEADER.options + 9; length++) {
    assert.equal(readProbeOffer(offer.subarray(0, length), 7), undefined, `${length}`);
  }
});

test('journal records: times cross a restart, and a clock that jumped cannot lengthen them', () => {
  const bench = new Bench();
  bench.dora(macOf(1));
  bench.dora(macOf(2));
  const [subnet] = bench.site.subnets;
  const mine = [...subnet!.table.leases()].find((l) => l.mac === macOf(2))!;
  subnet!.table.release(macOf(2), mine.address);
  subnet!.table.restoreAbandoned(ip('10.77.0.60'), 50_000);
  const records = [...liveRecords([bench.site], bench.clock)];
  assert.deepEqual(records.map((r) => r.kind).sort(), ['abandon', 'lease', 'release']);
  const restored = (jumpMs: number): LeaseTable => {
    const clock = new FakeClock(1_700_000_000_000 + jumpMs);
    const site = prepareSite(bench.site.config, NO_POLICY);
    restoreLeases([site], records, clock);
    return site.subnets[0]!.table;
  };
  const expiry = (table: LeaseTable): number =>
    Math.max(0, ...[...table.leases()].filter((l) => l.active).map((l) => l.expiresMs));
  assert.equal(expiry(restored(0)), 600_000);
  assert.equal(expiry(restored(100_000)), 500_000);
  assert.equal(expiry(restored(-900_000)), 600_000, 'never more than the lease time');
  assert.equal(expiry(restored(900_000)), 0);
  const aYear = 365 * 86_400_000;
  const until = restored(-aYear).abandoned().get(ip('10.77.0.60'));
  assert.equal(until, ABANDON_MS, 'never longer than an address is abandoned');
  assert.deepEqual(restored(0).counts(), {
    size: 50,
    offered: 0,
    active: 1,
    reusable: 1,
    abandoned: 1,
  });
});

test('journal records: the last word counts, for addresses and for clients', () => {
  const clock = new FakeClock();
  const site = prepareSite(new Bench().site.config, NO_POLICY);
  const lease = (client: string, address: string): ReturnType<typeof recordOf> =>
    recordOf(
      'lease',
      {
        address: ip(address),
        client,
        mac: client,
        hostName: undefined,
        seconds: 60,
        expiresMs: 60_000,
      },
      clock,
    );
  const records = [
    lease('a', '10.77.0.50'),
    lease('b', '10.77.0.50'),
    lease('a', '10.77.0.51'),
    lease('b', '10.77.0.52'),
    lease('z', '192.168.0.1'),
  ];
  assert.equal(restoreLeases([site], records, clock), 2);
  const held = [...site.subnets[0]!.table.leases()].map((l) => `${l.client} ${l.address & 255}`);
  assert.deepEqual(held.sort(), ['a 51', 'b 52']);
});

test('configuration: each mistake is named', () => {
  const subnet = { network: '10.0.0.0/24', pool: [], leaseSeconds: 60 };
  const pool = (first: string, last: string): (() => unknown) => {
    return () => planSubnet({ ...subnet, pool: [{ first, last }] }, '10.0.0.1');
  };
  assert.throws(pool('10.0.0.9', '10.0.0.2'), /lower address first/);
  assert.throws(pool('10.0.0.9', '10.0.1.2'), /outside 10\.0\.0\.0\/24/);
  assert.throws(pool('x', '10.0.0.2'), /no address range/);
  for (const network of ['10.0.0.0', '0.0.0.0/0', '10.0.0.0/33'])
    assert.throws(() => planSubnet({ ...subnet, network }, '10.0.0.1'), /no subnet/);
  const one = [{ first: '10.0.0.1', last: '10.0.0.1' }];
  for (const network of ['10.0.0.0/31', '10.0.0.1/32']) {
    assert.equal(planSubnet({ ...subnet, network }, '10.0.0.1').pool.size, 0);
    assert.throws(
      () => planSubnet({ ...subnet, network, pool: one }, '10.0.0.9'),
      /prefix 1 to 30/,
    );
  }
  const twice = [
    { first: '10.0.0.2', last: '10.0.0.9' },
    { first: '10.0.0.9', last: '10.0.0.12' },
  ];
  assert.throws(() => planSubnet({ ...subnet, pool: twice }, '10.0.0.1'), /overlap/);
  const network = {
    interface: 'a',
    mode: 'server',
    serverAddress: SERVER,
    subnets: [subnet],
  } as const;
  const site = prepareSite(network, NO_POLICY);
  assert.throws(() => assertDisjoint([site, prepareSite(network, NO_POLICY)]), /overlap/);
  assert.throws(
    () => prepareSite({ ...network, serverAddress: 'me' }, NO_POLICY),
    /no IPv4 address/,
  );
  const bad = { ...network, subnets: [{ ...subnet, routers: ['gateway'] }] };
  assert.throws(() => prepareSite(bad, NO_POLICY), /gateway/);
});

test('the pool leaves out the network, its broadcast address, the routers and ourselves', () => {
  const whole = {
    network: '10.0.0.0/24',
    pool: [{ first: '10.0.0.0', last: '10.0.0.255' }],
    leaseSeconds: 60,
    routers: ['10.0.0.254'],
  };
  assert.equal(planSubnet(whole, '10.0.0.1').pool.size, 252);
});
