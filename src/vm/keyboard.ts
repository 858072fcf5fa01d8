import { UserError } from '#base/mod.ts';
import type { QmpClient } from './qmp.ts';

/** Keys pressed together, as QEMU's `QKeyCode` names: `['shift', 'a']`. */
export type Chord = readonly string[];

/** How long a key is held; QEMU waits as long again before the next one. */
const HOLD_MS = 40;
/** Keys of one text: QEMU's queue holds 1,024 events, four for each shifted key. */
const TEXT_LIMIT = 250;

const PLAIN: Readonly<Record<string, string>> = {
  ' ': 'spc',
  '\n': 'ret',
  '\t': 'tab',
  '-': 'minus',
  '=': 'equal',
  '/': 'slash',
  '.': 'dot',
  ',': 'comma',
  ';': 'semicolon',
  "'": 'apostrophe',
  '[': 'bracket_left',
  ']': 'bracket_right',
  '\\': 'backslash',
  '`': 'grave_accent',
};

/** With shift on the US layout, which every firmware and DOS starts with. */
const SHIFTED: Readonly<Record<string, string>> = {
  ':': 'semicolon',
  _: 'minus',
  '+': 'equal',
  '"': 'apostrophe',
  '!': '1',
  '@': '2',
  '#': '3',
  $: '4',
  '%': '5',
  '^': '6',
  '&': '7',
  '*': '8',
  '(': '9',
  ')': '0',
  '?': 'slash',
  '>': 'dot',
  '<': 'comma',
  '{': 'bracket_left',
  '}': 'bracket_right',
  '|': 'backslash',
  '~': 'grave_accent',
};

/**
 * Text as key presses on a US keyboard. `<name>` and `<ctrl+alt+delete>` are keys by QEMU's names
 * (`ret`, `esc`, `f12`, `up` …); a lone `<` is itself. Throws UserError for what such a keyboard
 * has not.
 */
export function keysOf(text: string): Chord[] {
  const chords: Chord[] = [];
  for (const m of text.matchAll(/<([a-z0-9_]+(?:\+[a-z0-9_]+)*)>|([^])/gu)) {
    chords.push(m[1] === undefined ? keyOf(m[2] ?? '') : m[1].split('+'));
  }
  return chords;
}

/** Types `text` (see `keysOf`) into the guest; QEMU spaces the keys out. Throws QmpError. */
export async function typeKeys(qmp: QmpClient, text: string): Promise<void> {
  const chords = keysOf(text);
  if (chords.length > TEXT_LIMIT) {
    throw new UserError('invalid', 'keys-too-many', {
      what: `${chords.length} keys are too many at once.`,
      todo: `Type at most ${TEXT_LIMIT} keys at a time.`,
    });
  }
  for (const chord of chords) {
    const keys = chord.map((data) => ({ type: 'qcode', data }));
    await qmp.execute('send-key', { keys, 'hold-time': HOLD_MS });
  }
}

function keyOf(ch: string): Chord {
  if (/^[a-z0-9]$/.test(ch)) return [ch];
  if (/^[A-Z]$/.test(ch)) return ['shift', ch.toLowerCase()];
  const plain = PLAIN[ch];
  if (plain !== undefined) return [plain];
  const shifted = SHIFTED[ch];
  if (shifted !== undefined) return ['shift', shifted];
  throw new UserError('invalid', 'key-unknown', {
    what: `A US keyboard has no key for ${JSON.stringify(ch)}.`,
  });
}
