import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Running } from '../../test/lab/process.ts';
import { openEventLog, openState } from './mod.ts';

/** Writes machines in pairs and events without end, and says each number once it is committed. */
function writer(folder: string, from: number): string {
  return `
    import { openEventLog, openState } from '${join(import.meta.dirname, 'mod.ts')}';
    import { writeSync } from 'node:fs';
    const { machines } = openState('${folder}/state.db');
    const events = openEventLog('${folder}/events.db').log;
    const machine = (name, mac) => ({
      id: name, name, macs: [mac], plan: { kind: 'san' }, registered: true, createdAtMs: 1,
      drives: [{ image: 'disk-' + name, mode: 'exclusive' }],
    });
    const hex = (n) => n.toString(16).padStart(6, '0').match(/../g).join(':');
    for (let n = ${from}; ; n += 1) {
      machines.transaction(() => {
        machines.insert(machine('a' + n, '02:00:00:' + hex(n)));
        machines.insert(machine('b' + n, '06:00:00:' + hex(n)));
      });
      events.append({ atMs: n, boot: 'boot', mac: hex(n), stage: 'script', facts: { n } });
      writeSync(1, 'ack ' + n + '\\n');
    }`;
}

test('what was acknowledged before kill -9 is there after it, whole', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-kill-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  let from = 1;
  /** Pairs committed but killed before their event and their acknowledgement. */
  const unacked = new Set<number>();
  for (let round = 0; round < 6; round += 1) {
    const script = writer(folder, from);
    const child = new Running(process.execPath, ['--input-type=module-typescript', '-e', script]);
    await child.waitFor(new RegExp(`ack ${from + 10 + round * 7}\n`));
    child.child.kill('SIGKILL');
    const { stdout, signal } = await child.finished();
    assert.equal(signal, 'SIGKILL');
    const acked = Number(/ack (\d+)\n(?:[^\n]*)$/.exec(stdout)?.[1]);

    const state = openState(`${folder}/state.db`);
    const names = new Set(state.machines.list().map((machine) => machine.name));
    state.close();
    for (let n = 1; n <= acked; n += 1)
      assert.ok(names.has(`a${n}`) && names.has(`b${n}`), `pair ${n} of ${acked}`);
    const more = names.has(`a${acked + 1}`);
    assert.equal(names.has(`b${acked + 1}`), more, 'a pair is never half there');
    assert.equal(names.size, 2 * (acked + (more ? 1 : 0)));

    const events = openEventLog(`${folder}/events.db`);
    const seen = new Set(events.log.after(0, 1_000_000).map((event) => event.facts['n']));
    events.close();
    for (let n = 1; n <= acked; n += 1)
      assert.ok(seen.has(n) || unacked.has(n), `event ${n} of ${acked}`);
    if (more) unacked.add(acked + 1);
    from = acked + (more ? 2 : 1);
  }
});
