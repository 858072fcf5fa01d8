import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog, type Log } from '#base/mod.ts';
import { REFUSAL_LOG_MS } from './limits.ts';
import { RefusalLog } from './refusal-log.ts';

test('a flood writes one line at once and one a minute, with how many and from where', () => {
  const lines: object[] = [];
  const log: Log = Object.assign(Object.create(silentLog) as Log, {
    warn: (facts: object) => void lines.push(facts),
  });
  const refusals = new RefusalLog(log);
  refusals.note('too many', '10.0.0.1', 0);
  for (let n = 0; n < 9_000; n++) refusals.note('too many', `10.0.0.${n % 3}`, n);
  refusals.note('too many', '10.0.0.2', 9_000);
  refusals.note('too slow', '10.0.0.9', 9_001);
  refusals.sweep(REFUSAL_LOG_MS - 1);
  assert.deepEqual(lines, [
    { why: 'too many', count: 1, addresses: 1, most: '10.0.0.1' },
    { why: 'too slow', count: 1, addresses: 1, most: '10.0.0.9' },
  ]);
  refusals.sweep(REFUSAL_LOG_MS);
  assert.deepEqual(lines[2], { why: 'too many', count: 9_001, addresses: 3, most: '10.0.0.2' });
  refusals.sweep(3 * REFUSAL_LOG_MS);
  assert.equal(lines.length, 3, 'nothing new, nothing said');
});
