import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, formatMac, UserError } from '#base/mod.ts';
import {
  MachineService,
  MemoryMachineRepository,
  UNREGISTERED_MAX,
  type MachineEvent,
  type MachineRepository,
} from '#machines/mod.ts';
import { openState } from './mod.ts';

/** The inventory over every repository: the same story, and the same end after a restart. */
const REPOSITORIES: Record<string, () => MachineRepository> = {
  memory: () => new MemoryMachineRepository(),
  SQLite: () => openState(':memory:').machines,
};

type Setup = {
  machines: MachineService;
  clock: FakeClock;
  repository: MachineRepository;
  events: MachineEvent[];
};

function setUp(repository: MachineRepository): Setup {
  const clock = new FakeClock();
  let id = 0;
  const machines = new MachineService({
    repository,
    clock,
    images: { has: (name) => !name.startsWith('missing') },
    addresses: {
      checkAddress: (address) => {
        if (address === '10.0.0.254') throw new UserError('conflict', 'ours', { what: 'ours' });
      },
    },
    newId: () => `id-${(id += 1)}`,
  });
  const events: MachineEvent[] = [];
  machines.subscribe((event) => events.push(event));
  return { machines, clock, repository, events };
}

const macOf = (n: number): string =>
  formatMac(Uint8Array.of(0x52, 0x54, 0, n >> 16, (n >> 8) & 255, n & 255));

const refusal = (code: string, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof UserError, String(e));
  assert.equal(e.code, code);
  assert.match(e.message, text);
  return true;
};

function suite(what: string, body: (setup: Setup) => void): void {
  for (const [name, repository] of Object.entries(REPOSITORIES)) {
    test(`${name}: ${what}`, () => {
      const setup = setUp(repository());
      body(setup);
      // What the process believes is what the store holds: a restart would find the same.
      assert.deepEqual(setup.machines.list(), setup.repository.list());
    });
  }
}

suite('a machine is added, found by all its names, changed and forgotten', (s) => {
  const p4 = s.machines.add({
    name: 'p4',
    macs: ['5254.0000.0001'],
    uuid: '4C4C4544-0000-2010-8020-80C04F202020',
    address: '10.0.0.5',
    drives: [{ image: 'dos', mode: 'exclusive' }],
    note: 'under the bench',
  });
  assert.deepEqual(p4.plan, { kind: 'san' });
  assert.equal(p4.registered, true);
  for (const found of [
    s.machines.byId(p4.id),
    s.machines.byMac('52-54-00-00-00-01'),
    s.machines.byUuid('4c4c4544-0000-2010-8020-80C04F202020'),
    s.machines.byInitiatorName('iqn.2026-11.org.polyboot:p4'),
  ])
    assert.equal(found, p4);

  const changed = s.machines.set('p4', { address: null, plan: { kind: 'local' } });
  assert.equal(changed.address, undefined);
  assert.equal(changed.note, 'under the bench');
  assert.equal(s.machines.rename('p4', 'pentium').id, p4.id);
  assert.equal(s.machines.byName('p4'), undefined);
  s.machines.rm('pentium');
  assert.equal(s.machines.byMac('52:54:00:00:00:01'), undefined);
  assert.deepEqual(s.machines.holdersOf('dos'), []);
  assert.deepEqual(
    s.events.map((e) => e.kind),
    ['added', 'changed', 'changed', 'removed'],
  );
  assert.throws(() => s.machines.show('p4'), refusal('machine-unknown', /no machine "p4"/));
});

suite('a second machine is refused an exclusive image, and told who holds it', (s) => {
  s.machines.add({
    name: 'a',
    macs: [macOf(1)],
    drives: [
      { image: 'x', mode: 'shared' },
      { image: 'dos', mode: 'exclusive' },
    ],
  });
  s.machines.add({ name: 'b', macs: [macOf(2)] });
  const wanted = { image: 'dos', mode: 'exclusive' } as const;
  assert.throws(
    () => s.machines.attach('b', wanted),
    refusal(
      'image-held',
      /held by machine "a" as drive 1 \(0x81, exclusive\)[\s\S]*machine set a --drive none/,
    ),
  );
  assert.throws(
    () => s.machines.attach('b', { ...wanted, mode: 'shared' }),
    refusal('image-held', /machine "a"/),
  );
  assert.throws(
    () => s.machines.boot('b', { plan: { kind: 'iso', image: 'dos' } }),
    refusal('image-held', /machine "a"/),
  );
  assert.deepEqual(s.machines.show('b').drives, []);
  assert.deepEqual(s.machines.holdersOf('dos'), [
    { machine: 'a', mode: 'exclusive', index: 1, once: false },
  ]);
  s.machines.detach('a', 'dos');
  assert.equal(s.machines.attach('b', wanted).drives.length, 1);
  assert.throws(() => s.machines.detach('a', 'dos'), refusal('drive-unknown', /"a" has no drive/));
});

suite('shared images take any number of machines, and no writer', (s) => {
  const drives = [{ image: 'golden', mode: 'shared' as const }];
  for (let n = 1; n <= 3; n += 1) s.machines.add({ name: `m${n}`, macs: [macOf(n)], drives });
  assert.deepEqual(
    s.machines.holdersOf('golden').map((h) => h.machine),
    ['m1', 'm2', 'm3'],
  );
  assert.throws(
    () => s.machines.set('m2', { drives: [{ image: 'golden', mode: 'exclusive' }] }),
    refusal('image-held', /machines share is read-only/),
  );
});

suite('names, MACs and addresses are unique, and the refusal names the owner', (s) => {
  s.machines.add({ name: 'a', macs: [macOf(1)], address: '10.0.0.5' });
  s.machines.add({ name: 'b', macs: [macOf(2)] });
  assert.throws(() => s.machines.rename('b', 'a'), refusal('machine-name-taken', /named "a"/));
  assert.throws(
    () => s.machines.set('b', { macs: [macOf(2), macOf(1)] }),
    refusal('machine-mac-taken', /machine "a"/),
  );
  assert.throws(
    () => s.machines.set('b', { address: '10.0.0.5' }),
    refusal('machine-address-taken', /machine "a"/),
  );
});

suite('a fixed address that no machine can have is refused', (s) => {
  const address = '10.0.0.254';
  const add = (): unknown => s.machines.add({ name: 'a', macs: [macOf(1)], address });
  assert.throws(add, refusal('ours', /ours/));
  s.machines.add({ name: 'a', macs: [macOf(1)] });
  assert.throws(() => s.machines.set('a', { address }), refusal('ours', /ours/));
  assert.equal(s.machines.show('a').address, undefined);
});

suite('an image must exist when it is attached, not afterwards', (s) => {
  const missing = { image: 'missing', mode: 'shared' as const };
  assert.throws(
    () => s.machines.add({ name: 'a', macs: [macOf(1)], drives: [missing] }),
    refusal('image-unknown', /no image named "missing"/),
  );
  s.machines.add({ name: 'a', macs: [macOf(1)] });
  assert.throws(
    () => s.machines.boot('a', { plan: { kind: 'san' }, drives: [missing] }),
    refusal('image-unknown', /missing/),
  );
});

suite('a one-time boot is consumed once, and its drives last as long as that boot', (s) => {
  const { id } = s.machines.add({
    name: 'a',
    macs: [macOf(1)],
    drives: [{ image: 'os', mode: 'exclusive' }],
  });
  const rescue = [{ image: 'rescue', mode: 'shared' as const }];
  s.machines.boot('a', { plan: { kind: 'san' }, drives: rescue });
  assert.deepEqual(
    s.machines.bootOf(s.machines.show('a')).drives,
    [{ image: 'os', mode: 'exclusive' }],
    'the running boot keeps its disk',
  );
  assert.deepEqual(s.machines.nextBootOf(s.machines.show('a')).drives, rescue);
  assert.deepEqual(s.machines.holdersOf('rescue'), [
    { machine: 'a', mode: 'shared', index: 0, once: true },
  ]);

  assert.deepEqual(s.machines.beginBoot(id).drives, rescue);
  assert.deepEqual(s.machines.bootOf(s.machines.show('a')).drives, rescue, 'script fetched again');
  assert.equal(s.machines.show('a').nextBoot, undefined);

  assert.deepEqual(s.machines.beginBoot(id).drives, [{ image: 'os', mode: 'exclusive' }]);
  assert.deepEqual(s.machines.holdersOf('rescue'), []);
  const before = s.events.length;
  s.machines.beginBoot(id);
  assert.equal(s.events.length, before, 'an ordinary boot writes nothing');

  s.machines.boot('a', { plan: { kind: 'local' } });
  assert.equal(s.machines.boot('a', null).nextBoot, undefined);
});

suite('an unknown machine introduces itself, and its owner names it', (s) => {
  const met = s.machines.discover({ mac: '52-54-00-AB-CD-EF', arch: 7, uuid: 'not a uuid' });
  assert.equal(met?.name, 'new-abcdef');
  assert.deepEqual(met?.plan, { kind: 'menu' });
  assert.equal(met?.registered, false);
  assert.equal(met?.arch, 7);
  assert.equal(met?.uuid, undefined);
  assert.equal(s.machines.discover({ mac: '52:54:00:ab:cd:ef' })?.id, met?.id);
  assert.equal(s.machines.discover({ mac: '02:00:00:ab:cd:ef' })?.name, 'new-abcdef-2');
  assert.equal(s.machines.discover({ mac: 'ff:ff:ff:ff:ff:ff' }), undefined);

  s.clock.advance(5_000);
  const named = s.machines.add({
    name: 'lab1',
    macs: ['52:54:00:ab:cd:ef', '02:00:00:ab:cd:ef'],
  });
  assert.equal(named.id, met?.id);
  assert.equal(named.arch, 7);
  assert.equal(named.createdAtMs, met?.createdAtMs);
  assert.deepEqual(
    s.machines.list().map((m) => m.name),
    ['lab1'],
  );
});

suite('to set anything of an introduced machine is to register it', (s) => {
  s.machines.discover({ mac: macOf(0xabcdef) });
  assert.equal(s.machines.rename('new-abcdef', 'lab1').registered, true);
});

suite('machines that are seen again cost one write a minute', (s) => {
  const { id } = s.machines.add({ name: 'a', macs: [macOf(1)] });
  s.machines.seen(id, { arch: 7, uuid: '4C4C4544-0000-2010-8020-80C04F202020' });
  const first = s.machines.show('a');
  assert.equal(first.arch, 7);
  assert.equal(first.uuid, '4c4c4544-0000-2010-8020-80c04f202020');
  const writes = s.events.length;
  s.clock.advance(59_000);
  s.machines.seen(id, { arch: 7 });
  assert.equal(s.events.length, writes);
  s.clock.advance(2_000);
  s.machines.seen(id);
  assert.equal(s.machines.show('a').seenAtMs, s.clock.wallMs());
  assert.equal(s.machines.show('a').arch, 7);
  s.machines.seen(id, { arch: 0 });
  assert.equal(s.machines.show('a').arch, 0, 'the same machine, now by its BIOS');
  s.machines.seen('nobody');
});

suite('two machines that claim one UUID are found by neither', (s) => {
  const uuid = '03000200-0400-0500-0006-000700080009';
  s.machines.add({ name: 'a', macs: [macOf(1)], uuid });
  assert.equal(s.machines.byUuid(uuid)?.name, 'a');
  s.machines.add({ name: 'b', macs: [macOf(2)], uuid });
  assert.equal(s.machines.byUuid(uuid), undefined);
});

suite('a batch swaps addresses and images, or changes nothing', (s) => {
  const disk = (image: string): { image: string; mode: 'exclusive' } => ({
    image,
    mode: 'exclusive',
  });
  const a = s.machines.add({
    name: 'a',
    macs: [macOf(1)],
    address: '10.0.0.1',
    drives: [disk('x')],
  });
  const b = s.machines.add({
    name: 'b',
    macs: [macOf(2)],
    address: '10.0.0.2',
    drives: [disk('y')],
  });
  const swapped = [
    { ...a, address: '10.0.0.2', drives: [disk('y')] },
    { ...b, address: '10.0.0.1', drives: [disk('x')] },
  ];
  s.machines.check({ put: swapped });
  assert.equal(s.machines.show('a').address, '10.0.0.1', 'a check changes nothing');
  s.machines.commit({ put: swapped });
  assert.equal(s.machines.show('a').address, '10.0.0.2');
  assert.deepEqual(
    s.machines.holdersOf('x').map((h) => h.machine),
    ['b'],
  );
  const half = {
    put: [
      { ...a, note: 'new' },
      { ...b, address: a.address ?? '' },
    ],
  };
  assert.throws(() => {
    s.machines.check(half);
  }, UserError);
  assert.throws(() => {
    s.machines.commit(half);
  }, UserError);
  assert.equal(s.machines.show('a').note, undefined);
});

test('starvation: a flood of invented MACs is bounded, and known machines are served', () => {
  const { machines, clock } = setUp(new MemoryMachineRepository());
  const known = machines.add({ name: 'known', macs: ['06:00:00:00:00:01'] });
  for (let n = 0; n < 20_000; n += 1) {
    machines.discover({ mac: macOf(n) });
    if (n % 1_000 === 0) {
      clock.advance(1_000);
      assert.equal(machines.discover({ mac: '06:00:00:00:00:01' })?.id, known.id);
    }
  }
  assert.ok(machines.list().length <= 256 + 20 * 20 + 1);
  assert.ok(machines.refusedIntroductions > 19_000);
});

test('one not seen for an hour gives way when all places of unknown machines are taken', () => {
  const { machines, clock } = setUp(new MemoryMachineRepository());
  for (let n = 0; n < UNREGISTERED_MAX; n += 1) {
    clock.advance(60);
    assert.ok(machines.discover({ mac: macOf(n) }) !== undefined);
  }
  clock.advance(10_000);
  assert.equal(machines.discover({ mac: macOf(5_000) }), undefined);
  clock.advance(60 * 60 * 1000);
  assert.equal(machines.discover({ mac: macOf(5_000) })?.name, 'new-001388');
  assert.equal(machines.byMac(macOf(0)), undefined);
  assert.equal(machines.list().length, UNREGISTERED_MAX);
});

test('a subscriber that fails harms neither the change nor the others', () => {
  const { machines, events } = setUp(new MemoryMachineRepository());
  machines.subscribe(() => {
    throw new UserError('invalid', 'x', { what: 'x' });
  });
  const late: MachineEvent[] = [];
  const leave = machines.subscribe((event) => late.push(event));
  machines.add({ name: 'a', macs: [macOf(1)] });
  leave();
  machines.rm('a');
  assert.equal(late.length, 1);
  assert.equal(events.length, 2);
});

test('a machine that was handed out cannot be changed by accident', () => {
  const { machines } = setUp(new MemoryMachineRepository());
  const a = machines.add({ name: 'a', macs: [macOf(1)] });
  assert.throws(() => a.drives.push({ image: 'x', mode: 'shared' }), TypeError);
});

test('a store that fails leaves the inventory as it was', () => {
  const repository = new MemoryMachineRepository();
  const { machines } = setUp(repository);
  const a = machines.add({ name: 'a', macs: [macOf(1)] });
  repository.transaction = () => {
    throw new UserError('invalid', 'disk-gone', { what: 'disk gone' });
  };
  assert.throws(() => machines.set('a', { note: 'lost' }), /disk gone/);
  assert.throws(() => machines.add({ name: 'b', macs: [macOf(2)] }), /disk gone/);
  assert.throws(() => {
    machines.rm('a');
  }, /disk gone/);
  assert.deepEqual(machines.list(), [a]);
});
