import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attentions } from './attention.ts';
import type { Nexus } from './command.ts';
import { Sense } from './sense.ts';

const nexus = (name: string): Nexus => ({
  initiatorPort: name,
  initiatorName: name,
  targetPort: 1,
});

test('attention: each nexus gets each condition once, in order', () => {
  const a = new Attentions(() => undefined);
  const [one, two, stranger] = [nexus('1'), nexus('2'), nexus('3')];
  a.join(one);
  a.join(two);
  a.establishForAll(Sense.CAPACITY_DATA_CHANGED);
  a.establish(one, Sense.MODE_PARAMETERS_CHANGED);
  a.establish(one, Sense.MODE_PARAMETERS_CHANGED);
  a.establish(stranger, Sense.MODE_PARAMETERS_CHANGED);
  assert.equal(a.take(one), Sense.CAPACITY_DATA_CHANGED);
  assert.equal(a.take(one), Sense.MODE_PARAMETERS_CHANGED);
  assert.equal(a.take(one), undefined);
  assert.equal(a.any, true);
  assert.equal(a.take(two), Sense.CAPACITY_DATA_CHANGED);
  assert.equal(a.any, false);
  assert.equal(a.take(stranger), undefined);
});

test('attention: a reset replaces what was pending; a nexus that leaves takes its own', () => {
  let changes = 0;
  const a = new Attentions(() => {
    changes += 1;
  });
  const one = nexus('1');
  a.join(one);
  a.establish(one, Sense.MODE_PARAMETERS_CHANGED);
  a.reset(Sense.BUS_DEVICE_RESET);
  assert.equal(a.take(one), Sense.BUS_DEVICE_RESET);
  assert.equal(a.take(one), undefined);
  a.establish(one, Sense.REPORTED_LUNS_CHANGED);
  a.leave(one);
  assert.equal(a.any, false);
  assert.equal(a.anyone, false);
  assert.ok(changes >= 4);
});

test('attention: a nexus that never asks costs a bounded queue', () => {
  const a = new Attentions(() => undefined);
  const one = nexus('1');
  a.join(one);
  for (const code of Object.values(Sense)) a.establish(one, code);
  let count = 0;
  while (a.take(one) !== undefined) count += 1;
  assert.equal(count, 8);
});
