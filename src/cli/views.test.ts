import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TimelineEvent } from '#api/mod.ts';
import { FakeClock } from '#base/mod.ts';
import { LiveTimelines, PlainTimelines } from './live-view.ts';
import { ProgressView, progressText } from './progress.ts';
import { Screen } from './screen.ts';
import { ago } from './words.ts';

type Written = { screen: Screen; text: () => string; notes: () => string };

function screenOf(isTty: boolean, env: Record<string, string> = {}, size = [80, 24]): Written {
  let [out, err] = ['', ''];
  const [columns, rows] = isTty ? size : [];
  const write = (text: string): void => {
    out += text;
  };
  const note = (text: string): void => {
    err += text;
  };
  const screen = new Screen(
    { write, isTty, columns, rows },
    { write: note, isTty, columns, rows },
    env,
  );
  return { screen, text: () => out, notes: () => err };
}

let id = 0;
function event(
  stage: TimelineEvent['stage'],
  atMs: number,
  more: Partial<TimelineEvent> = {},
): TimelineEvent {
  id += 1;
  return {
    id,
    atMs,
    boot: 'a',
    machine: 'p4',
    mac: '52:54:00:00:00:01',
    stage,
    facts: {},
    ...more,
  };
}

/** What a terminal of that width shows after the text; understands what we send, nothing else. */
function shown(text: string): string[] {
  const lines: string[] = [''];
  let row = 0;
  // oxlint-disable-next-line no-control-regex -- the escapes are what is tested
  for (const part of text.match(/\u001b\[\d*[A-Zm]|\r|\n|[^\u001b\r\n]+/g) ?? []) {
    const up = /^\u001b\[(\d+)A$/.exec(part);
    if (up !== null) row -= Number(up[1]);
    else if (part === '\u001b[J') lines.length = row + 1;
    else if (part === '\n') row += 1;
    else if (part === '\r' || part.startsWith('\u001b[')) continue;
    else lines[row] = (lines[row] ?? '') + part;
    assert.ok(row >= 0, 'the cursor never leaves the screen');
    if (part === '\u001b[J') lines[row] = '';
    lines[row] ??= '';
  }
  return lines;
}

test('a boot is drawn with relative times, facts, and a verdict', () => {
  const { screen, text } = screenOf(false);
  const view = new PlainTimelines(screen);
  view.add(event('power-on', 1_000, { facts: { arch: 7, vendor: 'PXEClient' } }));
  view.add(event('script', 4_250, { facts: { bytes: 512 } }));
  view.add(event('ready', 35_200));
  const lines = text().trimEnd().split('\n');
  assert.match(lines[0] ?? '', /^p4 \(52:54:00:00:00:01\) at \d\d:\d\d:\d\d$/);
  assert.deepEqual(lines.slice(1), [
    '    +0.0 s  power-on  arch 7, vendor PXEClient',
    '    +3.3 s  script    bytes 512',
    '   +34.2 s  ready',
    '  ✔ ready after 34.2 s',
  ]);
});

test('a boot that stopped says after what, why, and what to do', () => {
  const { screen, text } = screenOf(false);
  const view = new PlainTimelines(screen);
  const problem = { what: 'no answer on port 69', why: 'a firewall', todo: 'open it' };
  view.add(event('power-on', 0));
  view.add(event('dhcp', 100));
  view.add(event('stopped', 30_000, { problem }));
  assert.match(
    text(),
    /✘ stopped after "dhcp": no answer on port 69\n {4}why: a firewall\n {4}do: {2}open it\n$/,
  );
});

test('plain lines of two boots are told apart by headings', () => {
  const { screen, text } = screenOf(false);
  const view = new PlainTimelines(screen);
  const other = { boot: 'b', machine: 'p5', mac: '52:54:00:00:00:02' };
  view.add(event('power-on', 0));
  view.add(event('power-on', 100, other));
  view.add(event('dhcp', 200, other));
  view.add(event('dhcp', 300));
  const heads = text()
    .split('\n')
    .filter((line) => line.includes(' at '));
  assert.deepEqual(
    heads.map((line) => line.slice(0, 2)),
    ['p4', 'p5', 'p4'],
  );
  assert.match(text(), /\+0\.3 s {2}dhcp\n$/);
});

test('text from the network cannot move the cursor or colour the screen', () => {
  for (const isTty of [false, true]) {
    const { screen, text } = screenOf(isTty, { NO_COLOR: '1' });
    const evil = '\u001b[2J\u001b]0;owned\u0007\r\n\u202e';
    const view = isTty ? new LiveTimelines(screen) : new PlainTimelines(screen);
    view.add(event('power-on', 0, { machine: evil, facts: { [evil]: evil } }));
    view.add(event('stopped', 1, { problem: { what: evil, why: evil, todo: evil } }));
    screen.table(['A'], [[evil]]);
    screen.fields({ a: evil });
    // oxlint-disable-next-line no-control-regex -- the escapes are what is tested
    const ours = text().replaceAll(/\u001b\[\d+A\r\u001b\[J|\n/g, '');
    // oxlint-disable-next-line no-control-regex -- the escapes are what is tested
    assert.doesNotMatch(ours, /[\u0000-\u001f\u007f-\u009f\u202e]/);
  }
});

test('on a terminal two boots have a block each, redrawn in place', () => {
  const { screen, text } = screenOf(true, { NO_COLOR: '1' });
  const view = new LiveTimelines(screen);
  const other = { boot: 'b', machine: 'p5', mac: '52:54:00:00:00:02' };
  view.add(event('power-on', 0));
  view.add(event('power-on', 100, other));
  view.add(event('dhcp', 300));
  view.add(event('dhcp', 400, other));
  const blocks = shown(text())
    .join('\n')
    .split('\n\n')
    .map((block) => block.trim());
  assert.equal(blocks.filter((block) => block !== '').length, 2);
  assert.match(blocks[0] ?? '', /^p4[^\n]*\n *\+0\.0 s {2}power-on\n *\+0\.3 s {2}dhcp$/);
  assert.match(blocks[1] ?? '', /^p5[^\n]*\n *\+0\.0 s {2}power-on\n *\+0\.3 s {2}dhcp$/);
  view.add(event('ready', 900));
  const last = shown(text()).join('\n');
  assert.equal(last.match(/p4 \(/g)?.length, 1);
  assert.ok(last.indexOf('ready after 0.9 s') < last.indexOf('p5 ('), 'what is over moves up');
});

test('on a small terminal nothing is drawn over, whatever comes', () => {
  const { screen, text } = screenOf(true, {}, [40, 8]);
  const view = new LiveTimelines(screen);
  for (let n = 0; n < 200; n += 1) {
    const boot = `boot-${n % 5}`;
    const facts = { n, long: 'x'.repeat(60) };
    view.add(event(n % 40 === 39 ? 'ready' : 'script', n * 100, { boot, facts }));
  }
  const lines = shown(text());
  for (const line of lines) assert.ok(line.length < 40, `${line.length} columns`);
  // Up at most by what the screen holds: a cursor that goes further would overwrite history.
  // oxlint-disable-next-line no-control-regex -- the escapes are what is tested
  for (const match of text().matchAll(/\u001b\[(\d+)A/g)) assert.ok(Number(match[1]) < 8);
  assert.equal(lines.filter((line) => line.includes('ready after')).length, 5);
});

test('colours are for terminals that want them', () => {
  const coloured = (isTty: boolean, env: Record<string, string>): boolean =>
    screenOf(isTty, env).screen.paint('red', 'x') !== 'x';
  assert.equal(coloured(true, {}), true);
  assert.equal(coloured(true, { NO_COLOR: '' }), true);
  assert.equal(coloured(true, { NO_COLOR: '1' }), false);
  assert.equal(coloured(true, { TERM: 'dumb' }), false);
  assert.equal(coloured(false, {}), false);
});

test('progress is a bar on a terminal and a few lines elsewhere', () => {
  assert.equal(
    progressText({ phase: 'copy', doneBytes: 252 * 2 ** 20, totalBytes: 504 * 2 ** 20 }),
    'copy [██████████████              ]  50 %  252 MiB of 504 MiB',
  );
  assert.equal(progressText({ phase: 'copy', doneBytes: 1024 }), 'copy 1 KiB');
  assert.equal(progressText({ phase: 'sync' }), 'sync …');
  assert.match(progressText({ phase: 'x', doneBytes: 3, totalBytes: 2 }), /100 %/);
  assert.match(progressText({ phase: 'x', doneBytes: 0, totalBytes: 0 }), /^x 0 B/);

  const tty = screenOf(true);
  const bar = new ProgressView(tty.screen, new FakeClock());
  bar.step({ phase: 'copy', doneBytes: 1, totalBytes: 2 });
  bar.step({ phase: 'copy', line: 'a line above the bar' });
  bar.clear();
  assert.match(tty.notes(), /\r\u001b\[Ka line above the bar\n[\s\S]*\r\u001b\[K$/);
  assert.equal(tty.text(), '');

  const clock = new FakeClock();
  const plain = screenOf(false);
  const lines = new ProgressView(plain.screen, clock);
  for (let n = 0; n <= 100; n += 1) {
    lines.step({ phase: 'copy', doneBytes: n, totalBytes: 100 });
    clock.advance(100);
  }
  lines.step({ phase: 'sync' });
  assert.deepEqual(plain.notes().trimEnd().split('\n'), [
    'copy 0 B of 100 B',
    'copy 50 B of 100 B',
    'copy 100 B of 100 B',
    'sync',
  ]);
});

test('times ago', () => {
  const nowMs = 1_700_000_000_000;
  for (const [seconds, text] of [
    [0, '0 s ago'],
    [59, '59 s ago'],
    [60, '1 min ago'],
    [7_200, '2 h ago'],
    [172_800, '2 d ago'],
  ] as const)
    assert.equal(ago(nowMs - seconds * 1000, nowMs), text);
  assert.equal(ago(undefined, nowMs), 'never');
  assert.equal(ago(nowMs + 5_000, nowMs), '0 s ago', 'a clock that went back');
});
