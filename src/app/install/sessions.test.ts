import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { InstallSessions, type InstallSession } from './sessions.ts';

/** A folder for sessions, and one of them whose process lives until the test ends. */
function setUp(t: TestContext): { runtime: string; session: InstallSession } {
  const runtime = mkdtempSync(join(tmpdir(), 'polyboot-sessions-'));
  const folder = join(runtime, 'install-1/polyboot-vm-abcdef');
  const forever = 'setInterval(() => undefined, 1e6)';
  const child = spawn(process.execPath, ['--eval', forever, `${folder}/control.sock`]);
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(runtime, { recursive: true });
  });
  const control = join(folder, 'control.sock');
  const floppies = { floppies: [], writableFloppies: false };
  return { runtime, session: { name: 'dos', pid: child.pid ?? -1, control, folder, ...floppies } };
}

test('a name that is taken is refused, and stays with the one that has it', (t) => {
  const { runtime, session } = setUp(t);
  const sessions = new InstallSessions(runtime);
  sessions.record(session);
  const second = { ...session, pid: process.pid };
  assert.throws(() => {
    sessions.record(second);
  }, /"dos" is running already\n +do: .*install stop --name dos/);
  assert.deepEqual(sessions.list(), [session]);
  assert.deepEqual(readdirSync(join(runtime, 'install')), ['dos.json']);
});

test('another process with the number of a dead one is not taken for it', (t) => {
  const { runtime, session } = setUp(t);
  const sessions = new InstallSessions(runtime);
  sessions.record({ ...session, pid: process.pid });
  assert.deepEqual(sessions.list(), []);
  sessions.record(session);
  assert.deepEqual(sessions.find(), session);
});
