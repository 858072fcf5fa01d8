import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as property, nat, property as forAll, stringMatching } from 'fast-check';
import {
  initiatorNameOf,
  introducedName,
  machineNameSchema,
  parseInitiatorName,
  parseTargetName,
  targetNameOf,
} from './mod.ts';

test('target and initiator names lead back to their machine', () => {
  const names = stringMatching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
  property(
    forAll(names, nat(99), (name, index) => {
      assert.ok(machineNameSchema.safeParse(name).success);
      assert.deepEqual(parseTargetName(targetNameOf({ name }, index)), { name, index });
      assert.equal(parseInitiatorName(initiatorNameOf({ name })), name);
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('other names lead nowhere, and letter case does not matter (RFC 3722)', () => {
  assert.deepEqual(parseTargetName('IQN.2026-11.ORG.POLYBOOT:P4.0'), { name: 'p4', index: 0 });
  for (const iqn of [
    '',
    'p4.0',
    'iqn.2026-11.org.polyboot:',
    'iqn.2026-11.org.polyboot:p4',
    'iqn.2026-11.org.polyboot:p4.',
    'iqn.2026-11.org.polyboot:p4.00',
    'iqn.2026-11.org.polyboot:p4.-1',
    'iqn.2026-11.org.polyboot:p4.100',
    'iqn.2026-11.org.polyboot:a.b.0',
    'iqn.2010-04.org.ipxe:p4.0',
    'iqn.2026-11.org.polyboot:p4.0\0',
  ])
    assert.equal(parseTargetName(iqn), undefined, iqn);
  assert.equal(parseInitiatorName('iqn.2026-11.org.polyboot:p4.0'), undefined);
  assert.equal(parseInitiatorName('iqn.1993-08.org.debian:01:abc'), undefined);
});

test('a machine introduces itself by the end of its MAC address', () => {
  assert.equal(introducedName('52:54:00:12:34:56'), 'new-123456');
});
