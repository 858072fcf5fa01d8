import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { need } from '../lab/need.ts';
import { firstSeeds, seeds } from './random.ts';
import { liveInThread } from './worker.ts';

/**
 * qcow2 at power cuts and deaths of the process (durability contract 2 to 7, hostile cases 37 to
 * 41): the real engine over a simulated file, under the real logical unit, with snapshots.
 */
const LIVES = new URL('qcow2-lives.ts', import.meta.url);

suite('qcow2 crashes', () => {
  test('QEMU is here to judge a part of the images', (t) => {
    need(t, { tools: ['qemu-img'] });
  });

  test('nothing promised is lost, and the image stays sound', async () => {
    await liveInThread(LIVES, 'sound', seeds(1_000, 100_000));
  });

  test('a full disk: no promise is broken, and it goes on when space appears', async () => {
    await liveInThread(LIVES, 'full', seeds(250, 20_000));
  });

  test('failing syncs: no promise is broken', async () => {
    await liveInThread(LIVES, 'failing', seeds(250, 20_000));
  });

  test('the oracle notices a sync that lies', async () => {
    await assert.rejects(liveInThread(LIVES, 'lying', firstSeeds(2_000)), /crash: lba/);
  });
});
