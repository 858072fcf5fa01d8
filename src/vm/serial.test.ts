import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { EnvironmentError, FakeClock } from '#base/mod.ts';
import { AnsiStripper } from './ansi.ts';
import { SerialConsole } from './serial.ts';

function strip(text: string): string {
  return new AnsiStripper().feed(text);
}

/** A console and the guest's end of its wire. The stream hands over what is written at once. */
function consoleOf(): { guest: PassThrough; clock: FakeClock; console: SerialConsole } {
  const guest = new PassThrough();
  const clock = new FakeClock();
  return { guest, clock, console: new SerialConsole(guest, clock) };
}

async function print(guest: PassThrough, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    guest.write(Buffer.from(text), () => {
      setImmediate(resolve);
    });
  });
}

async function fails(promise: Promise<unknown>, code: string): Promise<EnvironmentError> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (e: unknown) => e,
  );
  assert.ok(error instanceof EnvironmentError);
  assert.equal(error.code, code);
  return error;
}

suite('terminal control', () => {
  test('colours, charsets and titles go, text stays', () => {
    assert.equal(strip('\x1b[1;31mred\x1b[0m \x1b(0box\x1b(B \x1b]0;title\x07end'), 'red box end');
    assert.equal(strip('\x1b]0;title\x1b\\end'), 'end');
    assert.equal(strip('a\x00\x07\x08\x7fb\tc'), 'ab\tc');
  });

  test('every line end becomes one newline', () => {
    assert.equal(strip('a\r\nb\nc\rd\r\r\ne'), 'a\nb\nc\nd\ne');
    assert.equal(strip('a\r\x1b[0m\nb'), 'a\nb');
  });

  test('a jump to the first column ends the line, a jump elsewhere does not', () => {
    assert.equal(strip('a\x1b[5;1Hb\x1b[6;01Hc\x1b[Hd\x1b[7;9He'), 'a\nb\nc\nde');
    assert.equal(strip('\x1b[2J\x1b[1;1H\x1b[2;1Ha'), 'a', 'an empty line is not ended again');
  });

  test('where a chunk ends does not matter', () => {
    const text = 'a\x1b[1;31mred\x1b[0m\r\n\x1b]0;t\x07b\x1b[3;1Hc\r\rd';
    const whole = strip(text);
    for (let cut = 0; cut <= text.length; cut++) {
      const ansi = new AnsiStripper();
      assert.equal(ansi.feed(text.slice(0, cut)) + ansi.feed(text.slice(cut)), whole, `${cut}`);
    }
  });

  test('whatever comes in, no control character comes out', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii', maxLength: 200 }), (text) => {
        assert.doesNotMatch(strip(text), /[\x00-\x08\x0b-\x1f\x7f]/);
      }),
      { numRuns: 100_000, seed: 1 },
    );
  });
});

suite('serial console', () => {
  test('a wait takes what comes later, and the next wait starts behind it', async () => {
    const { guest, console } = consoleOf();
    const waiting = console.waitFor(/login: /, 1_000);
    await print(guest, 'Debian\r\nnetroot lo');
    await print(guest, 'gin: ');
    assert.equal((await waiting)[0], 'login: ');
    const again = console.waitFor(/login: /, 1_000);
    await print(guest, 'nobody\r\nnetroot login: ');
    await again;
    assert.equal(console.text, 'Debian\nnetroot login: nobody\nnetroot login: ');
  });

  test('two patterns of one chunk are found one after the other', async () => {
    const { guest, console } = consoleOf();
    await print(guest, 'one two one');
    await console.waitFor(/one/g, 1_000);
    await console.waitFor(/one/g, 1_000);
    assert.equal(console.lines.length, 0);
  });

  test('lines carry the time since power-on', async () => {
    const { guest, clock, console } = consoleOf();
    clock.advance(5_000);
    console.startClock();
    await print(guest, 'first\r\n');
    clock.advance(1_500);
    await print(guest, 'second\r\nthird');
    assert.deepEqual(console.lines, [
      { atMs: 0, text: 'first' },
      { atMs: 1_500, text: 'second' },
    ]);
    assert.equal(console.tail(), '    0.00 first\n    1.50 second\n         third');
  });

  test('a silent guest: the error shows the last it printed', async () => {
    const { guest, clock, console } = consoleOf();
    await print(guest, 'Booting from 0x80...\r\n');
    const failure = fails(console.waitFor(/login:/, 180_000), 'guest-silent');
    clock.advance(180_000);
    assert.match((await failure).message, /within 180 s[^]*Booting from 0x80/);
    assert.equal(clock.pending, 0);
  });

  test('a guest that ends is not waited for', async () => {
    const { guest, console } = consoleOf();
    const failure = fails(console.waitFor(/login:/, 180_000), 'guest-ended');
    guest.destroy();
    await failure;
    assert.equal(console.closed, true);
  });

  test('a guest in a loop does not fill the memory, and waits still work', async () => {
    const { guest, console } = consoleOf();
    for (let n = 0; n < 40; n++) await print(guest, 'x'.repeat(65_535) + '\n');
    assert.ok(console.text.length <= 1024 * 1024);
    const waiting = console.waitFor(/END/, 1_000);
    await print(guest, 'END');
    await waiting;
    for (let n = 0; n < 40; n++) await print(guest, '\n'.repeat(1_000));
    assert.ok(console.lines.length <= 20_000);
  });

  test('UTF-8 that is cut between two chunks', async () => {
    const { guest, console } = consoleOf();
    const bytes = Buffer.from('café');
    await new Promise<void>((resolve) => {
      guest.write(bytes.subarray(0, 4));
      guest.write(bytes.subarray(4), () => {
        setImmediate(resolve);
      });
    });
    assert.equal(console.text, 'café');
  });
});
