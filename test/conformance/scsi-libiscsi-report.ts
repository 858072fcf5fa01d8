import { PROFILES } from './scsi-profiles.ts';
import type { Profile } from './scsi-profiles.ts';

/**
 * - `pass`: every assertion held, nothing was left out.
 * - `partial`: every assertion that ran held, a part was left out.
 * - `skip`: the test found a feature absent, and asserted nothing.
 */
export type Verdict = 'pass' | 'partial' | 'skip' | 'fail' | 'hang' | 'crash';

/** How one test ended on one profile. */
export type Outcome = {
  readonly test: string;
  readonly profile: string;
  readonly verdict: Verdict;
  readonly durationMs: number;
  /** Of a skip: the test's reason. Of a failure: what was not as expected. */
  readonly notes: readonly string[];
};

/** How all tests ended that ran in one process, one after the other. */
export type FamilyOutcome = {
  readonly profile: string;
  readonly tests: number;
  readonly passed: number;
  readonly durationMs: number;
  readonly verdict: 'pass' | 'fail' | 'hang' | 'crash';
  readonly notes: readonly string[];
};

/** Tests that cannot tell anything about a profile, and why. */
export type NotApplicable = {
  readonly test: RegExp;
  readonly where: (profile: Profile) => boolean;
  readonly why: string;
};

const VERDICTS: readonly Verdict[] = ['pass', 'partial', 'skip', 'fail', 'hang', 'crash'];
const ORDER: readonly Verdict[] = ['pass', 'partial', 'skip', 'fail', 'crash', 'hang'];

/** The best verdict of each test over all profiles, and whether it failed on any. */
export function union(
  outcomes: readonly Outcome[],
): Map<string, { best: Verdict; failed: boolean }> {
  const result = new Map<string, { best: Verdict; failed: boolean }>();
  for (const { test, verdict } of outcomes) {
    const failed = ORDER.indexOf(verdict) >= ORDER.indexOf('fail');
    const before = result.get(test);
    if (before === undefined) result.set(test, { best: verdict, failed });
    else {
      if (ORDER.indexOf(verdict) < ORDER.indexOf(before.best)) before.best = verdict;
      before.failed ||= failed;
    }
  }
  return result;
}

/** Passed, left out and failed per profile, as a Markdown table. */
export function summary(outcomes: readonly Outcome[]): string {
  const count = (list: readonly { readonly verdict: Verdict }[]): string =>
    VERDICTS.map((v) => list.filter((o) => o.verdict === v).length).join(' | ');
  const lines = [`| profile | ${VERDICTS.join(' | ')} |`, rule(VERDICTS.length + 1)];
  for (const profile of new Set(outcomes.map((o) => o.profile))) {
    lines.push(`| ${profile} | ${count(outcomes.filter((o) => o.profile === profile))} |`);
  }
  const all = [...union(outcomes).values()].map(({ best, failed }) => ({
    verdict: failed ? ('fail' as const) : best,
  }));
  lines.push(`| **all together** | ${count(all)} |`);
  return `${lines.join('\n')}\n`;
}

/** The whole of docs/conformance.md. */
export function report(
  outcomes: readonly Outcome[],
  families: readonly FamilyOutcome[],
  notApplicable: readonly NotApplicable[],
): string {
  return [
    HEAD,
    summary(outcomes),
    PROFILES.map((p) => `- \`${p.name}\`: ${p.what}.`).join('\n'),
    NOTES,
    '## All tests in one process\n',
    'By one path, so that `MultipathIO` has nothing to say here.\n',
    familyTable(families),
    '## What was not run, or left out\n',
    'Not run, because the test could not tell anything there:\n',
    notApplicable.map((n) => `- \`${n.test.source}\`: ${n.why}`).join('\n'),
    '\nEvery test that did not pass on all of them, with its own words for why; `–`: not run.\n',
    exceptions(outcomes),
  ].join('\n');
}

function familyTable(families: readonly FamilyOutcome[]): string {
  const rows = families.map((f) => {
    const seconds = Math.round(f.durationMs / 1000);
    return `| ${f.profile} | ${f.tests} | ${f.passed} | ${f.verdict} | ${seconds} s |`;
  });
  const failures = families.flatMap((f) => f.notes.map((n) => `- ${f.profile}: ${n}`));
  const head = [
    '| profile | tests | without a failure | verdict | time |',
    '|---|---|---|---|---|',
  ];
  return `${[...head, ...rows, ...failures].join('\n')}\n`;
}

function exceptions(outcomes: readonly Outcome[]): string {
  const names = PROFILES.map((p) => p.name);
  const lines = [
    `| test | ${names.join(' | ')} | why |`,
    `|---|${'---|'.repeat(names.length + 1)}`,
  ];
  for (const test of [...new Set(outcomes.map((o) => o.test))].sort()) {
    const mine = outcomes.filter((o) => o.test === test);
    if (mine.every((o) => o.verdict === 'pass')) continue;
    const verdicts = names.map((n) => mine.find((o) => o.profile === n)?.verdict ?? '–');
    const why = [...new Set(mine.flatMap((o) => o.notes.slice(0, 2).map(reason)))].join('; ');
    lines.push(`| ${test} | ${verdicts.join(' | ')} | ${why} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** The line under a table's head. */
function rule(columns: number): string {
  return `|${'---|'.repeat(columns)}`;
}

/** A test's line without its mark, fit for a table. */
function reason(note: string): string {
  return note
    .replace(/^(Test: .*?\.\.\.)?\s*\[\w+\]\s*/, '')
    .replace(/\s+/g, ' ')
    .replaceAll('|', '\\|');
}

const HEAD = `# Conformance of the iSCSI target

libiscsi 1.19's \`iscsi-test-cu -d -S\`, 230 tests, each in a process of its own, on several kinds
of disk. A test counts as passed on a profile when every assertion held and nothing was left out;
\`partial\` when what ran held and a part was left out; \`skip\` when it found a feature absent.

Made by \`node test/conformance/scsi-libiscsi.ts --out docs/conformance.md\`; \`polyboot test\` runs
a shorter form.
`;

const NOTES = `
Read-only and CD-ROM run without \`--dataloss\`, except for tests that are made for them: most of
the others write. Every profile keeps its state in a folder, as \`--state\` does: reservations with
APTPL, saved mode pages, and (where it can be written) the log of WRITE ATOMIC.
\`iSCSITMF.LUNResetSimpleAsync\` passes only after its neighbour in the same process, which leaves
it a session; \`Sanitize.Reset\` needs a disk on which SANITIZE takes some seconds, and gets one.

Beside these: \`iscsi-perf\`, \`iscsi-inq\` and QEMU's libiscsi in \`test/interop/\`; Linux with
open-iscsi, multipath and sg3-utils in \`test/initiators/\`; and the table of commands itself, row
by row (\`scsi-rows.test.ts\`): CDB bits, allocation lengths, LBA limits, reservations, write
protection.
`;
