import assert from 'node:assert/strict';
import { test } from 'node:test';
import { need } from '../lab/need.ts';
import { listTests, runAll } from './scsi-libiscsi.ts';
import { summary } from './scsi-libiscsi-report.ts';
import type { Outcome, Verdict } from './scsi-libiscsi-report.ts';
import { PROFILES } from './scsi-profiles.ts';

/**
 * libiscsi's suite, every test in a process of its own. The disk profile takes all of them, the
 * others those that can tell something only there; the whole matrix is
 * `node test/conformance/scsi-libiscsi.ts`, which also writes docs/conformance.md.
 */
const ONLY_THERE: Readonly<Record<string, RegExp>> = {
  disk: /^/,
  'read-only': /^(ReadOnly|Prin|Prout|ModeSense6|Read10|Inquiry)\b/,
  removable: /^(PreventAllow|StartStopUnit|NoMedia)\b/,
  cdrom: /^(Inquiry|Mandatory|Read10|Read12|ReadCapacity10|TestUnitReady|PreventAllow)\b/,
  encrypted: /^Sanitize\b/,
  '512e': /InvalidDataOutSize|UnmapUnaligned|^CompareAndWrite/,
};

/** Sleeps for two minutes by itself; the full run has it. */
const TOO_SLOW = 'Sanitize.Reset';

const SOUND: readonly Verdict[] = ['pass', 'partial', 'skip'];

test('libiscsi: no test fails, hangs or crashes on any profile, and each passes on one', async (t) => {
  if (!need(t, { tools: ['iscsi-test-cu'] })) return;
  const names = (await listTests()).filter((n) => n !== TOO_SLOW);
  assert.ok(names.length >= 229, `${names.length} tests are there`);
  const outcomes: Outcome[] = [];
  for (const profile of PROFILES) {
    const mine = names.filter((n) => ONLY_THERE[profile.name]?.test(n) === true);
    assert.ok(mine.length > 0, profile.name);
    outcomes.push(...(await runAll(mine, [profile], { parallel: 2 })));
  }
  t.diagnostic(summary(outcomes));
  const bad = outcomes.filter((o) => !SOUND.includes(o.verdict));
  assert.deepEqual(bad, []);
  const passed = new Set(outcomes.filter((o) => o.verdict === 'pass').map((o) => o.test));
  const missing = names.filter((n) => !passed.has(n));
  assert.deepEqual(missing, []);
});
