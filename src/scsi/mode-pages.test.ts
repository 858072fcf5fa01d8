import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_PAGES, ModePages, PageControl } from './mode-pages.ts';
import { ScsiError } from './sense.ts';

test('mode-pages: every page can be sent back as it is, and nothing changes', () => {
  for (const kind of ['disk', 'cdrom'] as const) {
    const modes = new ModePages(kind, true);
    const all = modes.render(ALL_PAGES, 0, PageControl.CURRENT);
    assert.ok(all !== null && all.length > 40);
    assert.equal(modes.select(all, 0), false);
  }
});

test('mode-pages: a bit changes when its mask says so, and is refused otherwise', () => {
  const modes = new ModePages('disk', true);
  const current = modes.render(ALL_PAGES, 0, PageControl.CURRENT);
  const mask = modes.render(ALL_PAGES, 0, PageControl.CHANGEABLE);
  assert.ok(current !== null && mask !== null);
  const headers = new Set([0, 1, 12, 13, 32, 33, 44, 45]);
  for (let byte = 0; byte < current.length; byte++) {
    if (headers.has(byte)) continue;
    for (let bit = 0; bit < 8; bit++) {
      const list: Buffer = Buffer.from(current);
      list[byte] = (list[byte] ?? 0) ^ (1 << bit);
      if (((mask[byte] ?? 0) & (1 << bit)) !== 0) {
        assert.equal(modes.select(list, 0), true);
        modes.reset();
      } else {
        assert.throws(
          () => modes.select(list, 0),
          (e) => e instanceof ScsiError && e.details.field?.byte === byte,
        );
      }
    }
  }
});

test('mode-pages: one wrong page, and no page of the list is taken', () => {
  const modes = new ModePages('disk', true);
  const list = Buffer.concat([
    Buffer.from([0x08, 0x12]),
    Buffer.alloc(18),
    Buffer.from([0x3e, 2, 0, 0]),
  ]);
  assert.throws(() => modes.select(list, 0), ScsiError);
  assert.equal(modes.writeCache, true);
  assert.equal(modes.select(list.subarray(0, 20), 0), true);
  assert.equal(modes.writeCache, false);
  for (let length = 1; length < 20; length++) {
    assert.throws(() => modes.select(list.subarray(0, length), 0), ScsiError);
  }
});
