import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isRaspberryPi, architecture } from './architecture.ts';
import { bootFields, type BootContext } from './boot-fields.ts';
import { text, u16, u8 } from './options/basic.ts';
import { OPTION } from './options/codes.ts';
import { decodePxe } from './options/pxe.ts';
import { Bench, factsOf, ip, ipxeOptions, pxeOptions, requestOf, SERVER } from './fixtures.ts';
import { readFacts } from './facts.ts';
import { encodePacket, HEADER } from './packet.ts';

/** Boot facts 7, by its numbers. Rules 14 to 16 belong to TFTP, boot/ and the timeline. */

const TFTP = { kind: 'tftp', file: 'undionly.kpxe' } as const;
const PI = 'dc:a6:32:01:02:03';

function context(over: Partial<BootContext>, arch = 0): BootContext {
  return {
    answer: TFTP,
    facts: factsOf({ options: pxeOptions(arch) }),
    server: ip(SERVER),
    serverText: SERVER,
    realServer: true,
    school: 'direct',
    bootServer: false,
    ...over,
  };
}

function option(
  fields: { options: readonly (readonly [number, Uint8Array])[] },
  code: number,
): Buffer | undefined {
  const found = fields.options.find(([c]) => c === code);
  return found === undefined ? undefined : Buffer.from(found[1]);
}

test('rule 1: a reply has 300 bytes at least, and pads behind END', () => {
  const reply = new Bench().answer({ type: 1 });
  assert.ok(reply !== undefined && reply.bytes.length >= 300);
  const bytes = encodePacket(requestOf({}));
  assert.equal(bytes.length, 300);
  assert.equal(bytes[HEADER.options + 3], OPTION.end);
  assert.ok(bytes.subarray(HEADER.options + 4).every((b) => b === 0));
});

test('rule 2: 66 and 67 only when asked for, ended by NUL, but not for a Raspberry Pi', () => {
  const fields = bootFields(context({}));
  assert.equal(option(fields, 66)?.toString('latin1'), `${SERVER}\0`);
  assert.equal(option(fields, 67)?.toString('latin1'), 'undionly.kpxe\0');
  assert.equal(fields.file, 'undionly.kpxe');
  const unasked = factsOf({
    options: [
      [60, text('PXEClient')],
      [55, Uint8Array.of(1, 3)],
    ],
  });
  assert.equal(option(bootFields(context({ facts: unasked })), 67), undefined);
  const pi = factsOf({ mac: PI, options: pxeOptions(0) });
  assert.equal(option(bootFields(context({ facts: pi })), 66)?.toString('latin1'), SERVER);
});

test('rule 2: a name too long for the header goes into 67 alone', () => {
  const url = `http://${SERVER}/${'x'.repeat(150)}`;
  const facts = factsOf({ options: ipxeOptions() });
  const fields = bootFields(context({ facts, answer: { kind: 'url', url } }));
  assert.equal(fields.file, '');
  assert.equal(option(fields, 67)?.toString('latin1'), `${url}\0`);
});

test('rule 3: 43 {6:8} for BIOS, none for UEFI, and by school beside another server', () => {
  const skip = (c: BootContext): number | undefined => {
    const value = option(bootFields(c), 43);
    return value === undefined ? undefined : decodePxe(value).get(6)?.[0];
  };
  assert.equal(skip(context({})), 8);
  assert.equal(skip(context({}, 7)), undefined);
  assert.equal(skip(context({ realServer: false, school: 'direct' }, 7)), 8);
  assert.equal(skip(context({ realServer: false, school: 'binl' }, 7)), undefined);
  assert.equal(skip(context({ realServer: false, school: 'boot-server' }, 7)), undefined);
});

test('rule 3: iPXE gets a full URL, and no option 43', () => {
  const facts = factsOf({ options: ipxeOptions() });
  const fields = bootFields(context({ facts, realServer: false }));
  assert.equal(fields.file, `tftp://${SERVER}/undionly.kpxe`);
  assert.equal(option(fields, 43), undefined);
});

test('rule 4: 97 is echoed as it came, also empty or of a wrong length; absent is accepted', () => {
  const bench = new Bench({ boot: () => TFTP });
  for (const uuid of [Buffer.alloc(17, 3), Buffer.alloc(0), Buffer.alloc(5, 1)]) {
    const options = pxeOptions(0).map(([c, v]): [number, Uint8Array] => [c, c === 97 ? uuid : v]);
    const reply = bench.answer({ type: 1, options });
    assert.deepEqual(Buffer.from(reply?.packet.options.get(97) ?? [99]), uuid);
  }
  const without = pxeOptions(0).filter(([c]) => c !== 97);
  const reply = bench.answer({ type: 1, options: without });
  assert.equal(reply?.packet.options.has(97), false);
  assert.equal(reply?.packet.file, 'undionly.kpxe');
});

test('rule 5: 60 is the bare class, never what the client sent', () => {
  assert.equal(option(bootFields(context({})), 60)?.toString(), 'PXEClient');
  const facts = factsOf({ options: pxeOptions(16, 'HTTPClient') });
  const answer = { kind: 'url', url: `http://${SERVER}/b.efi` } as const;
  const fields = bootFields(context({ facts, answer }));
  assert.equal(option(fields, 60)?.toString(), 'HTTPClient');
  assert.equal(fields.file, answer.url);
  assert.equal(option(fields, 67)?.toString('latin1'), `${answer.url}\0`);
  assert.equal(option(fields, 43), undefined);
});

test('rule 6: 54 and siaddr in every boot reply', () => {
  for (const mode of ['server', 'proxy'] as const) {
    const bench = new Bench({ network: { mode }, boot: () => TFTP });
    for (const arch of [0, 7]) {
      const reply = bench.answer({ type: 1, options: pxeOptions(arch) });
      assert.equal(reply?.packet.siaddr, ip(SERVER), mode);
      assert.deepEqual([...(reply?.packet.options.get(54) ?? [])], [10, 77, 0, 1]);
    }
  }
});

test('rule 7: a bogus ciaddr in DISCOVER, or beside option 50, is cleared', () => {
  const bench = new Bench();
  const offer = bench.answer({ type: 1, ciaddr: '192.168.5.5' });
  assert.equal(offer?.packet.ciaddr, 0);
  assert.equal(offer?.to.address, '10.77.0.50');
});

test('rule 8: where a reply goes', () => {
  const to = (sketch: Parameters<Bench['answer']>[0]): string => {
    const reply = new Bench({ network: { subnets: SUBNETS } }).answer({ type: 1, ...sketch });
    return `${reply?.to.address}:${reply?.to.port} ${reply?.to.neighbour ?? '-'}`;
  };
  assert.equal(to({}), '10.77.0.50:68 52:54:00:00:00:01');
  assert.equal(to({ flags: 0x8000 }), '255.255.255.255:68 -');
  assert.equal(to({ giaddr: '10.78.0.1' }), '10.78.0.1:67 -');
  const infiniband = new Bench();
  const packet = requestOf({ options: [[61, Uint8Array.of(255, 1, 2, 3)]] });
  packet.htype = 32;
  packet.hlen = 0;
  const outcome = infiniband.exchange.receive(
    encodePacket(packet),
    { address: '0.0.0.0', port: 68 },
    67,
  );
  assert.equal(outcome.kind === 'send' && outcome.send.to.address, '255.255.255.255');
});

const SUBNETS = [
  {
    network: '10.77.0.0/24',
    pool: [{ first: '10.77.0.50', last: '10.77.0.99' }],
    leaseSeconds: 60,
  },
  {
    network: '10.78.0.0/24',
    pool: [{ first: '10.78.0.50', last: '10.78.0.99' }],
    leaseSeconds: 60,
  },
];

test('rule 8: a BOOTP reply keeps to 64 bytes of vendor area', () => {
  const reservations = { [PI]: { address: '10.77.0.7', hostName: 'a-rather-long-host-name' } };
  const bench = new Bench({ reservations, boot: () => TFTP });
  const reply = bench.answer({ mac: PI, type: 0 });
  assert.equal(reply?.bytes.length, 300);
  assert.equal(reply?.packet.yiaddr, ip('10.77.0.7'));
  assert.equal(reply?.packet.file, 'undionly.kpxe');
  assert.equal(reply?.packet.options.has(53), false);
  assert.equal(bench.answer({ type: 0 }), undefined, 'a stranger has no endless lease');
});

test('rule 9: a Raspberry Pi gets a menu entry of its own name, taken at once', () => {
  assert.ok(isRaspberryPi(PI) && isRaspberryPi('b8:27:eb:00:00:00'));
  assert.ok(!isRaspberryPi('52:54:00:00:00:01'));
  const facts = factsOf({ mac: PI, options: pxeOptions(0) });
  const menu = decodePxe(option(bootFields(context({ facts })), 43) ?? Buffer.alloc(0));
  assert.match(Buffer.from(menu.get(9) ?? []).toString('latin1'), /Raspberry Pi Boot$/);
  assert.deepEqual([...(menu.get(10) ?? [])], [0, ...Buffer.from('PXE')]);
});

test('rule 10: a REQUEST without option 60 is completed from its DISCOVER', () => {
  const bench = new Bench({ boot: (r) => (r.stage === 'firmware' ? TFTP : undefined) });
  const offer = bench.answer({ mac: PI, type: 1, options: pxeOptions(0) });
  const request: [number, Uint8Array][] = [
    [50, Buffer.from('0a4d0032', 'hex')],
    [54, Buffer.from('0a4d0001', 'hex')],
  ];
  const ack = bench.answer({ mac: PI, type: 3, options: request });
  assert.equal(offer?.packet.file, 'undionly.kpxe');
  assert.equal(ack?.packet.file, 'undionly.kpxe');
  // The operating system's own exchange is another transaction.
  const system = bench.answer({ mac: PI, xid: 99, type: 3, options: request });
  assert.equal(system?.packet.file, '');
});

test('rule 11: a user class that is not RFC 3004 still counts', () => {
  const facts = factsOf({ options: [...pxeOptions(0), [77, text('\u0009iPXE')]] });
  assert.equal(facts.stage, 'ipxe');
});

test('rule 12: relay information comes back last and unchanged', () => {
  const relay = Buffer.from('0104abcdef0102000102', 'hex');
  const bench = new Bench({ network: { subnets: SUBNETS } });
  const reply = bench.answer({
    type: 1,
    giaddr: '10.78.0.1',
    options: [
      [82, relay],
      [12, text('h')],
    ],
  });
  const at = reply?.bytes.indexOf(Buffer.concat([u8(82), u8(relay.length), relay, u8(255)])) ?? -1;
  assert.ok(at > 0);
});

test('rule 13: an answer can be delayed for one machine', () => {
  const bench = new Bench({ reservations: { [PI]: { replyDelayMs: 250 } } });
  assert.equal(bench.answer({ mac: PI, type: 1 })?.delayMs, 250);
  assert.equal(bench.answer({ type: 1 })?.delayMs, 0);
});

test('rule 13: a network’s delay holds for strangers too, whom nobody could have named yet', () => {
  for (const mode of ['server', 'proxy'] as const) {
    const network = { mode, replyDelayMs: 300 };
    const reservations = { [PI]: { replyDelayMs: 250 } };
    const bench = new Bench({ network, reservations, boot: () => TFTP });
    const options = pxeOptions(0);
    assert.equal(bench.answer({ type: 1, options })?.delayMs, 300);
    assert.equal(bench.answer({ mac: PI, type: 1, options })?.delayMs, 250);
  }
});

test('architectures 7, 8 and 9 are one; HTTP ones want a URL (adversary 10)', () => {
  for (const value of [7, 8, 9]) {
    assert.equal(architecture(value)?.firmware, 'uefi');
    assert.equal(architecture(value)?.cpu, 'x86_64');
  }
  for (const value of [15, 16, 18, 19, 20]) assert.equal(architecture(value)?.http, true);
  assert.equal(architecture(0)?.firmware, 'bios');
  assert.equal(architecture(11)?.cpu, 'arm64');
  assert.equal(architecture(0x9999), undefined);
});

test('iPXE that plays vendor firmware (option 175, another user class) is firmware', () => {
  const options: [number, Uint8Array][] = [
    ...pxeOptions(0),
    [OPTION.userClass, text('vendorpxe')],
    [OPTION.ipxe, Uint8Array.of(19, 1, 1, 255)],
  ];
  assert.equal(readFacts(requestOf({ options })).stage, 'firmware');
});

test('the client limit is option 57, at least 576, at most the MTU', () => {
  const limit = (value: number): number =>
    readFacts(requestOf({ options: [[57, u16(value)]] }), 'mac', 1500).limitBytes;
  assert.equal(limit(1472), 1444);
  assert.equal(limit(9000), 1472);
  assert.equal(limit(100), 548);
  assert.equal(factsOf({}).limitBytes, 548);
});
