import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Running, run } from '../lab/process.ts';
import { PROFILES, exportProfile, slowed } from './scsi-profiles.ts';
import type { Profile } from './scsi-profiles.ts';

/**
 * - `pass`: every assertion held, nothing was left out.
 * - `partial`: every assertion that ran held, a part was left out.
 * - `skip`: the test found a feature absent, and asserted nothing.
 */
export type Verdict = 'pass' | 'partial' | 'skip' | 'fail' | 'hang' | 'crash';

export type Outcome = {
  readonly test: string;
  readonly profile: string;
  readonly verdict: Verdict;
  readonly durationMs: number;
  /** Of a skip: the test's reason. Of a failure: what was not as expected. */
  readonly notes: readonly string[];
};

/** The slow one is SANITIZE with resets: it sleeps two or three times for a minute. */
const LIMIT_MS = 30_000;
const SLOW_LIMIT_MS = 240_000;

/** These look at a SANITIZE while it runs, so it must take a while. */
const NEEDS_SLOW_DISK: ReadonlySet<string> = new Set(['Sanitize.Reset']);

/** Passes only after its neighbour in the same process, which leaves it a session to reset. */
const NEEDS_NEIGHBOURS: ReadonlySet<string> = new Set(['iSCSITMF.LUNResetSimpleAsync']);

/** The names of all tests, `Suite.Test`. */
export async function listTests(): Promise<string[]> {
  const listing = await run('iscsi-test-cu', ['--list']);
  const names = listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^ALL\.\w+\..+$/.test(line))
    .map((line) => line.slice('ALL.'.length));
  return [...new Set(names)];
}

/** Runs one test in a process of its own, against a target of its own. */
export async function runTest(test: string, profile: Profile): Promise<Outcome> {
  const slow = NEEDS_SLOW_DISK.has(test);
  const exported = await exportProfile(slow ? slowed(profile) : profile);
  const startMs = performance.now();
  const child = new Running('iscsi-test-cu', [
    ...(destructive(test, profile) ? ['--dataloss', '--allow-sanitize'] : []),
    '--verbose',
    `--test=ALL.${NEEDS_NEIGHBOURS.has(test) ? test.replace(/\..*/, '') : test}`,
    // Only the multipath tests take a second path.
    ...exported.urls.slice(0, test.startsWith('MultipathIO') ? 2 : 1),
  ]);
  child.child.stdin?.end();
  let verdict: Verdict;
  try {
    const ended = await child.finished(slow ? SLOW_LIMIT_MS : LIMIT_MS);
    verdict = ended.signal === null ? judge(child.output) : 'crash';
  } catch {
    verdict = 'hang';
  }
  const durationMs = Math.round(performance.now() - startMs);
  await exported.close();
  return {
    test,
    profile: profile.name,
    verdict,
    durationMs,
    notes: notesOf(child.output, verdict),
  };
}

/**
 * Where nothing can be written, libiscsi is not told that it may destroy data, but for the test of
 * write protection, and for reservations, which it counts as data.
 */
function destructive(test: string, profile: Profile): boolean {
  return !profile.readOnly || /^(ReadOnly|Prin|Prout)/.test(test);
}

/** What the test itself wrote: before it comes what the program asked of the LUN at its start. */
function body(output: string): string {
  const at = output.indexOf('Suite:');
  return at < 0 ? output : output.slice(at);
}

/** CUnit's own totals say pass or fail; the tests' marks say what was left out. */
function judge(output: string): Verdict {
  const asserts = /asserts\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/.exec(output);
  if (asserts === null) return 'crash';
  const [, , ran, , failed] = asserts.map(Number);
  if (failed !== 0 || !/tests\s+(\d+)\s+\1\s+\1\s/.test(output)) return 'fail';
  if (!/SKIPPED|\bSkipping\b/i.test(body(output))) return 'pass';
  return (ran ?? 0) <= 1 ? 'skip' : 'partial';
}

function notesOf(output: string, verdict: Verdict): string[] {
  if (verdict === 'pass') return [];
  const wanted = verdict === 'skip' || verdict === 'partial' ? /SKIPPED|Skipping/ : /FAIL|CU_|\.c:/;
  const lines = body(output)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => wanted.test(line));
  const notes = [...new Set(lines)].slice(0, 6);
  return notes.length > 0 ? notes : output.split('\n').slice(-6);
}

/** Tests that cannot tell anything about a profile, and why. */
const NOT_APPLICABLE: readonly {
  readonly test: RegExp;
  readonly where: (profile: Profile) => boolean;
  readonly why: string;
}[] = [
  {
    test: /^MultipathIO\./,
    where: (p) => p.unit.kind === 'cdrom',
    why: 'libiscsi takes several paths only to disks',
  },
  {
    test: /^ProutReserve\.Access/,
    where: (p) => p.readOnly,
    why: 'writes to see who may, without looking whether anybody may',
  },
  {
    test: /^WriteVerify\d+\.Dpo$/,
    where: (p) => p.readOnly,
    why: 'writes without looking whether it may',
  },
  {
    test: /^GetLBAStatus\.UnmapSingle$/,
    where: (p) => p.unit.physicalBlockBytes !== undefined,
    why: 'asks for LBA n+1 and expects the answer for n+8 (true of physical = logical blocks only)',
  },
];

function applies(test: string, profile: Profile): boolean {
  return !NOT_APPLICABLE.some((n) => n.test.test(test) && n.where(profile));
}

/** Runs tests on profiles, several at a time; outcomes in the order of the tests. */
export async function runAll(
  tests: readonly string[],
  profiles: readonly Profile[],
  options: { readonly parallel: number; readonly onOutcome?: (o: Outcome) => void },
): Promise<Outcome[]> {
  const jobs = tests.flatMap((test) =>
    profiles.filter((p) => applies(test, p)).map((profile) => ({ test, profile })),
  );
  const outcomes: Outcome[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < jobs.length; index = next++) {
      const job = jobs[index];
      if (job === undefined) return;
      const outcome = await runTest(job.test, job.profile);
      outcomes[index] = outcome;
      options.onOutcome?.(outcome);
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, worker));
  return outcomes;
}

/** The best verdict of each test over all profiles, and whether it failed on any. */
export function union(
  outcomes: readonly Outcome[],
): Map<string, { best: Verdict; failed: boolean }> {
  const order: readonly Verdict[] = ['pass', 'partial', 'skip', 'fail', 'crash', 'hang'];
  const result = new Map<string, { best: Verdict; failed: boolean }>();
  for (const { test, verdict } of outcomes) {
    const failed = order.indexOf(verdict) >= order.indexOf('fail');
    const before = result.get(test);
    if (before === undefined) result.set(test, { best: verdict, failed });
    else {
      if (order.indexOf(verdict) < order.indexOf(before.best)) before.best = verdict;
      before.failed ||= failed;
    }
  }
  return result;
}

/** Counts and exceptions as a Markdown document. */
export function report(outcomes: readonly Outcome[]): string {
  const verdicts: readonly Verdict[] = ['pass', 'partial', 'skip', 'fail', 'hang', 'crash'];
  const count = (list: readonly { readonly verdict: Verdict }[]): string =>
    verdicts.map((v) => list.filter((o) => o.verdict === v).length).join(' | ');
  const lines = [`| profile | ${verdicts.join(' | ')} |`, `|---|${'---|'.repeat(verdicts.length)}`];
  for (const profile of new Set(outcomes.map((o) => o.profile))) {
    lines.push(`| ${profile} | ${count(outcomes.filter((o) => o.profile === profile))} |`);
  }
  const best = [...union(outcomes)].map(([test, { best, failed }]) => ({
    test,
    verdict: failed ? ('fail' as const) : best,
  }));
  lines.push(`| **all together** | ${count(best)} |`, '');
  for (const { test, why } of NOT_APPLICABLE) lines.push(`- not run (${test.source}): ${why}`);
  lines.push('');
  for (const { test, verdict } of best) {
    if (verdict === 'pass') continue;
    lines.push(`- ${test}: ${verdict}`);
    for (const o of outcomes) {
      if (o.test !== test || o.verdict === 'pass') continue;
      lines.push(`  - ${o.profile}: ${o.verdict}. ${o.notes.join(' · ')}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/**
 * The command: `node test/conformance/scsi-libiscsi.ts [--test A.B]… [--profile P]… [--out FILE]`.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      test: { type: 'string', multiple: true },
      profile: { type: 'string', multiple: true },
      parallel: { type: 'string', default: '3' },
      out: { type: 'string' },
    },
  });
  const all = await listTests();
  const wanted = values.test;
  const tests = wanted === undefined ? all : all.filter((t) => wanted.some((w) => t.startsWith(w)));
  const profiles = PROFILES.filter((p) => values.profile?.includes(p.name) ?? true);
  const outcomes = await runAll(tests, profiles, {
    parallel: Number(values.parallel),
    onOutcome: (o) => {
      if (o.verdict !== 'pass' && o.verdict !== 'skip') {
        process.stdout.write(`${o.profile} ${o.test}: ${o.verdict} ${o.notes.join(' · ')}\n`);
      }
    },
  });
  const text = report(outcomes);
  if (values.out === undefined) process.stdout.write(text);
  else writeFileSync(values.out, text);
}

if (import.meta.main) await main();
