import assert from 'node:assert/strict';
import { test } from 'node:test';
import { need } from '../../test/lab/need.ts';
import { checkPrivateNetwork } from './private-network.ts';

test('a host without tun devices is told so before anything is built', async (t) => {
  if (!need(t, { root: true, tools: ['unshare'] })) return;
  await assert.rejects(checkPrivateNetwork(true, '/dev/net/none'), {
    code: 'no-tun',
    message: /\/dev\/net\/none.*cannot be opened\n +why: ENOENT[^]*do: +modprobe tun; a container/,
  });
  await checkPrivateNetwork(true, '/dev/null');
});
