import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Running, run } from '../lab/process.ts';
import { report } from './scsi-libiscsi-report.ts';
import type { FamilyOutcome, NotApplicable, Outcome, Verdict } from './scsi-libiscsi-report.ts';
import { PROFILES, exportProfile, slowed } from './scsi-profiles.ts';
import type { Profile } from './scsi-profiles.ts';

/** The slowest takes 6 s, and some of them 20 on a busy host: what takes minutes hangs. */
const LIMIT_MS = 120_000;
/** SANITIZE writes the whole disk some times over; with resets it sleeps for some minutes. */
const SLOW_LIMIT_MS = 240_000;
/** All 230, with the minutes that one of them sleeps. */
const FAMILY_LIMIT_MS = 540_000;

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
    const ended = await child.finished(test.startsWith('Sanitize.') ? SLOW_LIMIT_MS : LIMIT_MS);
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
const NOT_APPLICABLE: readonly NotApplicable[] = [
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

/**
 * All tests in one process, one after the other, on one target: what one leaves behind is what the
 * next one finds. On a disk on which SANITIZE takes a while, and by one path: with two of them
 * `Sanitize.Reservations` leaves its RESERVE(6) on the second, and the next test fails on it.
 */
export async function runFamily(profile: Profile): Promise<FamilyOutcome> {
  const exported = await exportProfile(slowed(profile));
  const startMs = performance.now();
  const args = ['--dataloss', '--allow-sanitize', '--verbose', '--test=ALL'];
  const child = new Running('iscsi-test-cu', [...args, ...exported.urls.slice(0, 1)]);
  child.child.stdin?.end();
  let verdict: FamilyOutcome['verdict'] = 'hang';
  try {
    const ended = await child.finished(FAMILY_LIMIT_MS);
    verdict = ended.signal === null ? 'pass' : 'crash';
  } catch {
    // Still running: the output so far says which test hangs.
  }
  await exported.close();
  const totals = /tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/.exec(child.output);
  const [, , ran = 0, passed = 0, failed = 1] = totals?.map(Number) ?? [];
  if (verdict === 'pass' && failed !== 0) verdict = 'fail';
  const durationMs = Math.round(performance.now() - startMs);
  const notes = verdict === 'pass' ? [] : notesOf(child.output, 'fail');
  return { profile: profile.name, tests: ran, passed, durationMs, verdict, notes };
}

/**
 * The command: `node test/conformance/scsi-libiscsi.ts [--test A.B]… [--profile P]… [--family P]…
 * [--out FILE]`.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      test: { type: 'string', multiple: true },
      profile: { type: 'string', multiple: true },
      parallel: { type: 'string', default: '3' },
      family: { type: 'string', multiple: true, default: ['disk', 'removable'] },
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
  const families: FamilyOutcome[] = [];
  for (const p of PROFILES) {
    if (values.family.includes(p.name)) families.push(await runFamily(p));
  }
  const text = report(outcomes, families, NOT_APPLICABLE);
  if (values.out === undefined) process.stdout.write(text);
  else writeFileSync(values.out, text);
}

if (import.meta.main) await main();
