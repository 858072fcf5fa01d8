import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { InstallAction } from '#cli/mod.ts';
import { steer } from './control.ts';
import type { InstallSession } from './sessions.ts';

/** A QEMU that takes no command but the first, or (`hangUp`) goes at the second. */
async function refusingQemu(t: TestContext, hangUp: boolean): Promise<InstallSession> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-steer-'));
  const control = join(folder, 'control.sock');
  const version = { qemu: { micro: 0, minor: 2, major: 7 }, package: '' };
  const server = createServer((socket) => {
    socket.write(`${JSON.stringify({ QMP: { version, capabilities: [] } })}\r\n`);
    socket.on('data', (bytes) => {
      const { execute, id } = JSON.parse(bytes.toString()) as { execute: string; id: number };
      const error = { class: 'GenericError', desc: 'it has no such thing' };
      const greeted = execute === 'qmp_capabilities';
      if (hangUp && !greeted) socket.destroy();
      else socket.write(`${JSON.stringify(greeted ? { return: {}, id } : { error, id })}\r\n`);
    });
  }).listen(control);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  return { name: 'dos', pid: 1, control, folder, floppies: [], writableFloppies: false };
}

const TYPE: InstallAction = { kind: 'type', keys: '<f99>' };
const PICTURE: InstallAction = { kind: 'picture', file: '/no/such/s.png' };

test('what QEMU does not take is the caller’s, and said with its reason', async (t) => {
  const session = await refusingQemu(t, false);
  const told = /does not take that\n +why: send-key: it has no such thing\n +do: .*<ret>/;
  await assert.rejects(steer(session, TYPE), { name: 'UserError', message: told });
  await assert.rejects(steer(session, PICTURE), {
    name: 'UserError',
    message: /screendump: it has/,
  });
});

test('a machine that goes in the midst of it does not answer', async (t) => {
  const session = await refusingQemu(t, true);
  await assert.rejects(steer(session, TYPE), { code: 'install-gone' });
});
