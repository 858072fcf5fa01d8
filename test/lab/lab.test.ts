import assert from 'node:assert/strict';
import { test } from 'node:test';
import { need } from './need.ts';
import { Lab } from './netns.ts';

test('two hosts of a lab reach each other and nothing else', async (t) => {
  if (!need(t, { root: true, tools: ['ip', 'ping'] })) return;
  const lab = await Lab.create();
  try {
    const a = await lab.addHost({ address: '10.77.0.2/24' });
    assert.match(await a.run('ping', ['-c1', '-W5', lab.ip]), /1 received/);
    assert.equal((await a.run('ip', ['route', 'show', 'default'])).trim(), '');
  } finally {
    await lab.close();
  }
});
