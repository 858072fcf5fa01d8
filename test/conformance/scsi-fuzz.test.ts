import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_UNIT_STATE, Phase, ScsiCommand, parseUnitState } from '#scsi/mod.ts';
import type { UnitStateStore } from '#scsi/mod.ts';
import { bench } from './scsi-bench.ts';
import type { Bench } from './scsi-bench.ts';

const CASES = 100_000;

/** A small generator with a seed: xorshift32. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Half of the CDBs are near a row of the table, half are noise. */
function fill(command: ScsiCommand, b: Bench, next: (below: number) => number): void {
  command.reset();
  const { rows } = b.unit.commands;
  const row = rows[next(rows.length)];
  for (let i = 0; i < 16; i++) command.cdb[i] = next(4) === 0 ? next(256) : 0;
  if (row !== undefined && next(2) === 0) {
    command.cdb[0] = row.cdb[0] ?? 0;
    for (let i = 1; i < row.cdb.length; i++) {
      command.cdb[i] = (command.cdb[i] ?? 0) & (row.cdb[i] ?? 0);
    }
    if (row.action >= 0) command.cdb[1] = ((command.cdb[1] ?? 0) & 0xe0) | row.action;
  }
  command.cdbBytes = next(50) === 0 ? next(17) : 16;
  command.lun = next(20) === 0 ? next(300) - 1 : 0;
  command.expectedOutBytes = [0, 512, 1024, 24, 8, 65_536][next(6)] ?? 0;
  command.expectedInBytes = next(70_000);
  command.nexus = b.one;
}

/** What must hold of any command that `begin` has seen. */
function check(command: ScsiCommand, b: Bench): void {
  const what = Buffer.from(command.cdb.subarray(0, 16)).toString('hex');
  assert.ok(command.phase >= Phase.DONE && command.phase <= Phase.WAIT, what);
  if (command.phase === Phase.READ || command.phase === Phase.WRITE) {
    assert.ok(command.device !== null, what);
    assert.ok(command.extentOffsetBytes + command.transferBytes <= b.memory.sizeBytes, what);
    assert.ok(command.transferBytes > 0 && command.transferBytes % b.unit.blockBytes === 0, what);
  }
  if (command.phase === Phase.GATHER) assert.ok(command.transferBytes <= 1024 * 1024, what);
  if (command.phase === Phase.DONE) {
    assert.ok([0, 2, 4, 0x18].includes(command.status), what);
    assert.equal(command.status === 2, command.sense !== null, what);
    assert.equal(command.transferBytes, command.dataIn?.length ?? 0, what);
  }
}

/** Keeps nothing, but takes everything: APTPL and SP are in the table. */
const state: UnitStateStore = {
  initial: EMPTY_UNIT_STATE,
  save: (next, done) => {
    assert.deepEqual(parseUnitState(JSON.parse(JSON.stringify(next))), next);
    done(null);
  },
};

for (const kind of ['disk', 'cdrom'] as const) {
  test(`fuzz_${kind}: ${CASES} CDBs; begin never throws, finish always ends`, async () => {
    const b = bench({ kind, removable: true, abortTasks: () => false, state });
    const next = generator(kind === 'disk' ? 0x2545f491 : 0x1b873593);
    const data = Buffer.from(Array.from({ length: 1024 }, () => next(256)));
    const command = new ScsiCommand();
    let finished = 0;
    for (let i = 0; i < CASES; i++) {
      fill(command, b, next);
      b.set.begin(command);
      check(command, b);
      if (command.phase === Phase.DONE || command.phase === Phase.READ) continue;
      // SANITIZE and long VERIFYs are slow; a thousandth of the rest shows that they end.
      if (command.phase === Phase.WAIT && next(20) !== 0) continue;
      command.dataOut = Buffer.concat([data, Buffer.alloc(command.transferBytes)]);
      await new Promise((resolve) => {
        b.set.finish(command, resolve);
      });
      assert.equal(command.phase, Phase.DONE);
      finished += 1;
    }
    assert.ok(finished > CASES / 5000, `${finished} went through finish`);
  });
}

test('fuzz_prefix: a CDB cut short anywhere is refused or taken as it is, never thrown at', () => {
  const b = bench();
  const command = new ScsiCommand();
  for (const row of b.unit.commands.rows) {
    for (let length = 0; length <= 16; length++) {
      command.reset();
      command.cdb.set(row.cdb.subarray(0, length));
      command.cdbBytes = length;
      command.nexus = b.one;
      b.set.begin(command);
      check(command, b);
    }
  }
});
