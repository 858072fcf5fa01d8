import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockMaxFor, negotiate, type Agreement } from './options.ts';
import type { TftpOption } from './packet.ts';

const SIZE = 1_000_000;

function agree(options: TftpOption[], ignore: string[] = []): Agreement {
  return negotiate(options, SIZE, { blockMaxBytes: blockMaxFor(1500, 4), ignore });
}

test('no options: 512 bytes, no window, no answer', () => {
  assert.deepEqual(agree([]), {
    blockBytes: 512,
    windowBlocks: 1,
    timeoutMs: undefined,
    askedSize: false,
    answer: [],
  });
});

test('only what was asked is answered, equal or lower', () => {
  const all = agree([
    ['tsize', '0'],
    ['blksize', '1408'],
    ['timeout', '5'],
    ['windowsize', '16'],
    ['multicast', ''],
  ]);
  assert.deepEqual(
    new Map(all.answer),
    new Map([
      ['blksize', '1408'],
      ['windowsize', '16'],
      ['timeout', '5'],
      ['tsize', '1000000'],
    ]),
  );
  assert.equal(all.timeoutMs, 5000);
});

test('blksize: below 8 is unknown, above the MTU is lowered', () => {
  for (const [asked, block] of [
    ['7', 512],
    ['8', 8],
    ['512', 512],
    ['1468', 1468],
    ['1469', 1468],
    ['65464', 1468],
    ['70000', 1468],
    ['-1', 512],
    ['NaN', 512],
    ['1e3', 512],
    ['', 512],
    [' 1024', 512],
    ['99999999999', 512],
  ] as const) {
    const { blockBytes, answer } = agree([['blksize', asked]]);
    assert.equal(blockBytes, block, asked);
    const said = new Map(answer).get('blksize');
    assert.equal(said, answer.length === 0 ? undefined : String(block), asked);
  }
});

test('blksize on jumbo frames, IPv6 and a tiny MTU', () => {
  const asked: TftpOption[] = [['blksize', '65464']];
  const blockAt = (blockMaxBytes: number): number =>
    negotiate(asked, SIZE, { blockMaxBytes }).blockBytes;
  assert.equal(blockAt(blockMaxFor(9000, 4)), 8968);
  assert.equal(blockAt(blockMaxFor(1500, 6)), 1448);
  assert.equal(blockAt(blockMaxFor(65_536, 4)), 65_464);
  // Every client must take 512, even if the path then fragments.
  assert.equal(blockAt(blockMaxFor(68, 4)), 512);
});

test('windowsize: 0 is unknown, large ones are lowered, and memory is bounded', () => {
  for (const [asked, window] of [
    ['0', 1],
    ['1', 1],
    ['64', 64],
    ['65', 64],
    ['65536', 64],
  ] as const) {
    assert.equal(agree([['windowsize', asked]]).windowBlocks, window, asked);
  }
  const jumbo = negotiate(
    [
      ['blksize', '65464'],
      ['windowsize', '64'],
    ],
    SIZE,
    {
      blockMaxBytes: blockMaxFor(65_536, 4),
    },
  );
  assert.ok(jumbo.windowBlocks * jumbo.blockBytes <= 256 * 1024);
  assert.ok(jumbo.windowBlocks >= 1);
});

test('timeout: repeated exactly or left out (RFC 2349)', () => {
  assert.deepEqual(agree([['timeout', '255']]).answer, [['timeout', '255']]);
  for (const bad of ['0', '256', 'x']) assert.deepEqual(agree([['timeout', bad]]).answer, []);
});

test('of duplicates the first counts; ignored options were never sent', () => {
  assert.equal(
    agree([
      ['blksize', '600'],
      ['blksize', '700'],
    ]).blockBytes,
    600,
  );
  const ignoring = agree(
    [
      ['blksize', '1408'],
      ['tsize', '0'],
    ],
    ['blksize'],
  );
  assert.deepEqual(ignoring.answer, [['tsize', '1000000']]);
});
