import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import {
  addressSchema,
  bootPlanSchema,
  chapSchema,
  drivesSchema,
  machineNameSchema,
  macSchema,
  newMachineSchema,
  parseOrExplain,
  uuidSchema,
} from './mod.ts';

const ok = (schema: { safeParse(v: unknown): { success: boolean } }, value: unknown): boolean =>
  schema.safeParse(value).success;

test('a machine name is a DNS label', () => {
  for (const name of ['a', 'p4', 'pentium-4', 'x'.repeat(63), '0'])
    assert.ok(ok(machineNameSchema, name), name);
  for (const name of ['', '-a', 'a-', 'A', 'a.b', 'a_b', 'x'.repeat(64), 'ä', 'a b', 'a\n'])
    assert.ok(!ok(machineNameSchema, name), JSON.stringify(name));
});

test('a MAC address is taken in every usual spelling and kept in one', () => {
  for (const mac of ['52:54:00:AB:cd:ef', '52-54-00-ab-cd-ef', '5254.00ab.cdef', '525400ABCDEF'])
    assert.equal(macSchema.parse(mac), '52:54:00:ab:cd:ef');
  for (const mac of ['', '52:54:00:ab:cd', 'zz:54:00:ab:cd:ef', '00:00:00:00:00:00'])
    assert.ok(!ok(macSchema, mac), mac);
  assert.ok(!ok(macSchema, 'ff:ff:ff:ff:ff:ff'), 'broadcast');
  assert.ok(!ok(macSchema, '01:00:5e:00:00:01'), 'multicast');
});

test('an address is one that a host can have', () => {
  assert.ok(ok(addressSchema, '10.0.0.5'));
  for (const address of [
    '0.0.0.0',
    '127.0.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '10.0.0.256',
    '010.0.0.1',
    '::1',
  ])
    assert.ok(!ok(addressSchema, address), address);
});

test('a UUID is kept in lower case', () => {
  assert.equal(
    uuidSchema.parse('4C4C4544-0000-2010-8020-80C04F202020'),
    '4c4c4544-0000-2010-8020-80c04f202020',
  );
  assert.ok(!ok(uuidSchema, '4C4C4544'));
});

test('a CHAP secret has 12 to 255 bytes and differs from the mutual one', () => {
  const chap = { user: 'iqn.2026-11.org.polyboot:p4', secret: 'x'.repeat(12) };
  assert.ok(ok(chapSchema, chap));
  assert.ok(ok(chapSchema, { ...chap, secret: 'x'.repeat(255) }));
  assert.ok(ok(chapSchema, { ...chap, mutualUser: 't', mutualSecret: 'y'.repeat(12) }));
  for (const secret of [
    'x'.repeat(11),
    'x'.repeat(256),
    'with a space',
    'line\nbreak-line',
    'ünïcödé-sécrét',
    '${net0/mac}-and-more',
    '#comment-secret',
  ])
    assert.ok(!ok(chapSchema, { ...chap, secret }), secret);
  assert.ok(!ok(chapSchema, { ...chap, user: '' }));
  assert.ok(!ok(chapSchema, { ...chap, mutualUser: 't', mutualSecret: chap.secret }), 'equal');
  assert.ok(!ok(chapSchema, { ...chap, mutualUser: 't' }), 'half a pair');
  assert.ok(!ok(chapSchema, { ...chap, mutualSecret: 'y'.repeat(12) }), 'half a pair');
});

test('a boot plan admits nothing that would escape into an iPXE script', () => {
  assert.deepEqual(bootPlanSchema.parse({ kind: 'kernel', kernel: 'vmlinuz' }), {
    kind: 'kernel',
    kernel: 'vmlinuz',
    initrd: [],
    cmdline: '',
  });
  for (const plan of [
    { kind: 'kernel', kernel: 'a\nsanboot' },
    { kind: 'kernel', kernel: '../../etc/shadow' },
    { kind: 'kernel', kernel: 'a b' },
    { kind: 'kernel', kernel: '${filename}' },
    { kind: 'kernel', kernel: 'a', cmdline: 'x\u2028y' },
    { kind: 'kernel', kernel: 'a', cmdline: 'x'.repeat(2049) },
    { kind: 'kernel', kernel: 'a', initrd: Array.from({ length: 17 }, () => 'i') },
    { kind: 'san', extra: 1 },
    { kind: 'script', text: '' },
    { kind: 'script', text: 'x'.repeat(65_537) },
    { kind: 'floppy' },
  ])
    assert.ok(!ok(bootPlanSchema, plan), JSON.stringify(plan).slice(0, 80));
});

test('drives: at most eight, each image once', () => {
  const drive = (image: string): unknown => ({ image, mode: 'shared' });
  assert.ok(ok(drivesSchema, ['a', 'b'].map(drive)));
  assert.ok(!ok(drivesSchema, ['a', 'a'].map(drive)));
  assert.ok(!ok(drivesSchema, 'abcdefghi'.split('').map(drive)));
  assert.ok(!ok(drivesSchema, [{ image: '../x', mode: 'shared' }]));
});

test('a refusal lists every problem by its place, in plain words', () => {
  const description = {
    name: 'Big Box',
    macs: ['nonsense', 5],
    plan: { kind: 'kernel' },
    drives: [{ image: 'x' }],
    color: 'beige',
  };
  assert.throws(
    () => parseOrExplain(newMachineSchema, description, 'this machine cannot be added'),
    (e: unknown) => {
      assert.ok(e instanceof UserError && e.kind === 'invalid');
      const why = e.explanation.why ?? '';
      for (const part of [
        /name must be a DNS label/,
        /macs\[0\] is no MAC address/,
        /macs\[1\] must be of type string/,
        /plan\.kernel is missing/,
        /drives\[0\]\.mode must be one of exclusive, shared/,
        /color is no known key/,
      ])
        assert.match(why, part);
      return true;
    },
  );
  assert.throws(
    () => parseOrExplain(bootPlanSchema, { kind: 'tape' }, 'x'),
    /kind must be one of san, kernel, iso, floppy, local, menu, script/,
  );
});
