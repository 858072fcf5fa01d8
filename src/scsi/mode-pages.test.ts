import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_PAGES, ModePages, PageControl } from './mode-pages.ts';
import { ScsiError } from './sense.ts';

/** MODE SELECT without SP: whether something changed. */
function select(modes: ModePages, list: Uint8Array, from = 0): boolean {
  const draft = modes.draft(list, from);
  modes.adopt(draft, false);
  return draft.changed;
}

test('mode-pages: every page can be sent back as it is, and nothing changes', () => {
  for (const kind of ['disk', 'cdrom'] as const) {
    const modes = new ModePages(kind, true);
    const all = modes.render(ALL_PAGES, 0, PageControl.CURRENT);
    assert.ok(all !== null && all.length > 40);
    assert.equal(select(modes, all), false);
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
        assert.equal(select(modes, list), true);
        modes.reset();
      } else {
        assert.throws(
          () => select(modes, list),
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
  assert.throws(() => select(modes, list), ScsiError);
  assert.equal(modes.writeCache, true);
  assert.equal(select(modes, list.subarray(0, 20)), true);
  assert.equal(modes.writeCache, false);
  for (let length = 1; length < 20; length++) {
    assert.throws(() => select(modes, list.subarray(0, length)), ScsiError);
  }
});

const WCE_OFF = Buffer.concat([Buffer.from([0x08, 0x12]), Buffer.alloc(18)]);

test('mode-pages_saved: PS only where there is a store; a reset goes back to what was saved', () => {
  const plain = new ModePages('disk', true);
  const saving = new ModePages('disk', true, []);
  assert.equal(plain.render(0x08, 0, PageControl.CURRENT)?.[0], 0x08);
  assert.equal(saving.render(0x08, 0, PageControl.CURRENT)?.[0], 0x88);
  assert.equal(saving.render(0x1c, 0, PageControl.CURRENT)?.[0], 0x1c);
  const draft = saving.draft(WCE_OFF, 0);
  saving.adopt(draft, true);
  saving.reset();
  assert.equal(saving.writeCache, false);
  assert.equal(saving.render(0x08, 0, PageControl.SAVED)?.[2], 0);
  assert.equal(saving.render(0x08, 0, PageControl.DEFAULT)?.[2], 4);
});

test('mode-pages_saved: the next unit begins with it, unless its defaults were changed since', () => {
  const first = new ModePages('disk', true, []);
  const saved = first.toSave(first.draft(WCE_OFF, 0));
  assert.equal(new ModePages('disk', true, saved).writeCache, false);
  const through = new ModePages('disk', false, []);
  const on = Buffer.from(WCE_OFF);
  on[2] = 0x04;
  const savedOn = through.toSave(through.draft(on, 0));
  assert.equal(new ModePages('disk', false, savedOn).writeCache, true);
  // The owner chose the other setting after the guest had saved its own.
  assert.equal(new ModePages('disk', true, savedOn).writeCache, true);
  assert.equal(new ModePages('disk', false, saved).writeCache, false);
  const short = saved.map((s) => ({ ...s, saved: '0812' }));
  assert.equal(new ModePages('disk', true, short).writeCache, true);
});
