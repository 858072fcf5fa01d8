import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import {
  BOOTS_MAX,
  EVENTS_PER_STAGE_MAX,
  MemoryEventLog,
  SAME_BOOT_MS,
  STRANGERS,
  Timeline,
} from './timeline.ts';

const MAC = '52:54:00:77:00:01';

function setup(): {
  clock: FakeClock;
  timeline: Timeline;
  story: () => string[];
  boots: () => number;
} {
  const clock = new FakeClock();
  const log = new MemoryEventLog();
  const timeline = new Timeline({ clock, log, machineOf: (m) => (m === MAC ? 'pc1' : undefined) });
  const all = (): ReturnType<typeof log.after> => log.after(0, 100_000);
  return {
    clock,
    timeline,
    story: () => all().map((e) => e.stage),
    boots: () => new Set(all().map((e) => e.boot)).size,
  };
}

test('a boot is told stage by stage, repeats left out', () => {
  const { timeline, story, boots, clock } = setup();
  timeline.reach(MAC, 'power-on', { arch: 7 });
  clock.advance(4_000);
  timeline.reach(MAC, 'power-on', { arch: 7 });
  for (const stage of [
    'dhcp',
    'loader',
    'ipxe',
    'script',
    'login',
    'disk',
    'os',
    'ready',
  ] as const) {
    clock.advance(500);
    timeline.reach(MAC, stage);
  }
  assert.deepEqual(story(), [
    'power-on',
    'dhcp',
    'loader',
    'ipxe',
    'script',
    'login',
    'disk',
    'os',
    'ready',
  ]);
  assert.equal(boots(), 1);
  clock.advance(3_600_000);
  assert.equal(story().length, 9, 'a booted machine is not stopped');
});

test('firmware that asks again after iPXE ran, or much later, has started anew', () => {
  const { timeline, boots, clock } = setup();
  timeline.reach(MAC, 'power-on');
  timeline.reach(MAC, 'ipxe');
  timeline.reach(MAC, 'power-on');
  assert.equal(boots(), 2);
  clock.advance(SAME_BOOT_MS + 1);
  timeline.reach(MAC, 'power-on');
  assert.equal(boots(), 3);
});

test('an iPXE ROM that asks again after its script has started anew', () => {
  const { timeline, boots } = setup();
  timeline.reach(MAC, 'ipxe');
  timeline.reach(MAC, 'ipxe');
  timeline.reach(MAC, 'script');
  assert.equal(boots(), 1);
  timeline.reach(MAC, 'ipxe');
  assert.equal(boots(), 2);
});

test('a boot that rests too long is stopped once, with the usual causes, and may go on', () => {
  const { timeline, story, clock } = setup();
  timeline.reach(MAC, 'power-on');
  timeline.reach(MAC, 'dhcp');
  timeline.reach(MAC, 'loader', { file: 'undionly.kpxe' });
  clock.advance(600_000);
  assert.deepEqual(story(), ['power-on', 'dhcp', 'loader', 'stopped']);
  const last = timeline.after(0).at(-1);
  assert.match(last?.problem?.what ?? '', /loader was sent/);
  assert.equal(last?.facts['after'], 'loader');
  assert.equal(last?.machine, 'pc1');
  timeline.reach(MAC, 'ipxe');
  assert.equal(story().at(-1), 'ipxe');
});

test('a machine that loops cannot fill the log', () => {
  const { timeline, story } = setup();
  for (let i = 0; i < 1_000; i++) timeline.reach(MAC, 'loader', { n: i });
  assert.equal(story().length, EVENTS_PER_STAGE_MAX);
});

test('adversary 4: invented machines push no real boot out of the log, nor out of memory', () => {
  const { timeline, clock, story } = setup();
  timeline.reach(MAC, 'power-on');
  for (let i = 0; i < 100_000; i++) {
    timeline.reach(`52:54:01:${i}`, 'power-on');
    if (i % 1000 === 0) clock.advance(100);
  }
  assert.ok(story().length <= 1 + STRANGERS.burst + 10 * STRANGERS.perSecond, `${story().length}`);
  assert.equal(timeline.stageOf(MAC), 'power-on');
  timeline.reach(MAC, 'dhcp');
  assert.equal(story().at(-1), 'dhcp');
  clock.advance(1000);
  timeline.reach('52:54:00:00:00:99', 'power-on');
  assert.equal(story().at(-1), 'power-on', 'a real stranger asks again, and is told of');
  timeline.close();
});

test('forgets the oldest boot when there are too many, and leaves no timer behind', () => {
  const clock = new FakeClock();
  const log = new MemoryEventLog();
  const timeline = new Timeline({ clock, log, machineOf: (mac) => mac });
  for (let i = 0; i <= BOOTS_MAX; i++) timeline.reach(`m${i}`, 'power-on');
  assert.equal(timeline.stageOf('m0'), undefined);
  assert.equal(timeline.stageOf(`m${BOOTS_MAX}`), 'power-on');
  assert.equal(clock.pending, BOOTS_MAX);
  timeline.close();
  assert.equal(clock.pending, 0);
});

test('what the network said cannot move a cursor', () => {
  const { timeline } = setup();
  timeline.reach(MAC, 'power-on', { vendor: 'PXE\u001b[2J' });
  assert.equal(timeline.after(0)[0]?.facts['vendor'], 'PXE\\x1b[2J');
});
