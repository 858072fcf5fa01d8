import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { PlaneThread } from './plane-thread.ts';

test('a thread that has ended refuses what it is asked, instead of never answering', async () => {
  const thread = new PlaneThread({
    data: { level: 'silent', stateFolder: tmpdir() },
    onTell: () => undefined,
    onDeath: assert.ifError,
  });
  await thread.call('stats', {});
  await thread.terminate();
  await assert.rejects(thread.call('stop', {}), { message: /the data plane ended/ });
});
