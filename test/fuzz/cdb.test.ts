import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { silentLog } from '#base/mod.ts';
import type { Log } from '#base/mod.ts';
import { MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { Opcode, decodeDataIn, decodeR2t, decodeScsiResponse } from '#iscsi/pdu/mod.ts';
import { encodeDataOut, encodeScsiCommand, opcodeOf } from '#iscsi/pdu/mod.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import type { CommandRow, UnitOptions } from '#scsi/mod.ts';
import { Dice, Growth, cases, settled } from './dice.ts';
import { parameterList } from './parameter-lists.ts';
import { ShakyDevice } from './shaky-device.ts';

const CASES = cases(40_000);
const DISK_BYTES = 512 * 1024;
const TARGET = 'iqn.2026-11.test:disk';
/** A fresh unit after so many commands: reservations, ejections and failures would pile up. */
const COMMANDS_PER_UNIT = 100;
const STATUSES: ReadonlySet<number> = new Set([0x00, 0x02, 0x04, 0x08, 0x18, 0x28]);

type Profile = {
  readonly name: string;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly unit: Pick<UnitOptions, 'kind' | 'removable' | 'cache' | 'physicalBlockBytes'>;
};

/** Every kind of unit that `polyboot export` can make. */
const PROFILES: readonly Profile[] = [
  { name: 'disk', blockBytes: 512, readOnly: false, unit: {} },
  { name: 'read-only', blockBytes: 512, readOnly: true, unit: {} },
  { name: 'removable', blockBytes: 512, readOnly: false, unit: { removable: true } },
  { name: 'CD-ROM', blockBytes: 2048, readOnly: true, unit: { kind: 'cdrom' } },
  { name: '4Kn', blockBytes: 4096, readOnly: false, unit: { cache: 'writethrough' } },
];

/** A unit of a profile and a session with it. */
class Bench {
  readonly complaints: string[] = [];
  readonly disk: ShakyDevice;
  readonly unit: LogicalUnit;
  readonly server: TargetServer;
  readonly i: TestInitiator;

  constructor(profile: Profile, dice: Dice) {
    const note = (_fields: unknown, message: string): void => {
      this.complaints.push(message);
    };
    const log: Log = { ...silentLog, error: note };
    this.server = new TargetServer({ log });
    const { blockBytes } = profile;
    const memory = new MemoryDevice({ sizeBytes: DISK_BYTES, blockBytes });
    this.disk = new ShakyDevice(profile.readOnly ? new ReadOnlyDevice(memory) : memory, dice);
    const naa = '3000000000000001';
    const identity = { vendor: 'POLYBOOT', product: 'FUZZ', revision: '1', serial: 'f-0', naa };
    const abortTasks: UnitOptions['abortTasks'] = (nexus) => this.server.abortTasksOf(nexus, 0);
    this.unit = new LogicalUnit({ device: this.disk, identity, abortTasks, ...profile.unit });
    const units = new LogicalUnitSet({ targetName: TARGET });
    units.add(0, this.unit);
    this.server.addExport({ iqn: TARGET, access: 'any', takeover: false }, units);
    this.i = new TestInitiator(this.server);
  }

  async end(): Promise<void> {
    this.i.connection.lost('over');
    await settled(() => this.server.stats().sessions.length === 0, 'the session ends');
    // PRE-FETCH and SANITIZE with IMMED go on behind the session.
    await settled(() => this.disk.underWay === 0, 'the unit comes to rest');
    await this.server.close();
  }
}

/** Half of the CDBs are near a row of the table, a quarter is one, the rest is noise. */
function randomCdb(dice: Dice, rows: readonly CommandRow[]): [number[], CommandRow | null] {
  const noise = Array.from({ length: 16 }, () => (dice.once(4) ? dice.roll(256) : 0));
  if (dice.once(4)) return [noise, null];
  const row = dice.pick(rows);
  const exact = dice.once(2);
  const cdb = noise.map((byte, n) => (n < row.cdb.length ? byte & (row.cdb[n] ?? 0) : 0));
  cdb[0] = row.cdb[0] ?? 0;
  if (row.action >= 0) cdb[1] = ((cdb[1] ?? 0) & 0xe0) | row.action;
  if (!exact) cdb[dice.roll(16)] = dice.roll(256);
  return [cdb, row];
}

/** How one command ended, as the wire shows it. */
type Ended = { status: number; dataBytes: number; residual: string; residualBytes: number };

async function run(b: Bench, dice: Dice, what: { cdb: string }): Promise<void> {
  const [cdb, row] = randomCdb(dice, b.unit.commands.rows);
  what.cdb = Buffer.from(cdb).toString('hex');
  const out = row === null ? dice.once(3) : (row.direction === 'out') !== dice.once(16);
  const list = out ? parameterList(dice, cdb) : new Uint8Array();
  const expected = out ? list.length : dice.pick([0, 1, 36, 255, 512, 4096, dice.roll(70_000)]);
  const immediate = out ? dice.pick([0, list.length, dice.roll(list.length + 1)]) : 0;
  const pdu = b.i.commandPdu(cdb, {
    read: !out && expected > 0,
    write: out && expected > 0,
    lun: dice.once(40) ? dice.pick([1, 255, 0xc101]) : 0,
    expectedLengthBytes: expected,
    data: list.slice(0, immediate),
  });
  b.i.send(encodeScsiCommand(pdu));
  const ended = await answers(b, pdu.initiatorTaskTag, list);
  check(ended, expected, out);
}

/** Follows a command to its one status; fails when there is none, or a second one. */
async function answers(b: Bench, tag: number, list: Uint8Array): Promise<Ended> {
  const { i } = b;
  let dataBytes = 0;
  for (;;) {
    await settled(() => i.received.length > 0 || i.closed, 'a command without an answer');
    assert.equal(i.closed, false, 'no command ends the connection');
    const pdu = await i.next();
    if (opcodeOf(pdu) === Opcode.R2T) {
      const r2t = decodeR2t(pdu);
      const from = r2t.bufferOffsetBytes;
      assert.ok(from + r2t.desiredLengthBytes <= list.length, 'no more than was expected');
      i.send(
        encodeDataOut({
          final: true,
          lun: r2t.lun,
          initiatorTaskTag: tag,
          targetTransferTag: r2t.targetTransferTag,
          expStatSn: 0,
          dataSn: 0,
          bufferOffsetBytes: from,
          data: list.slice(from, from + r2t.desiredLengthBytes),
        }),
      );
    } else if (opcodeOf(pdu) === Opcode.DATA_IN) {
      const part = decodeDataIn(pdu);
      assert.deepEqual([part.initiatorTaskTag, part.bufferOffsetBytes], [tag, dataBytes]);
      dataBytes += part.data.length;
      if (part.hasStatus) return { ...part, dataBytes };
    } else {
      const response = decodeScsiResponse(pdu);
      assert.equal(response.initiatorTaskTag, tag);
      assert.equal(response.status === 2, response.sense.length > 0, 'sense with CHECK CONDITION');
      if (response.status === 2) assert.ok([0x70, 0x72].includes((response.sense[0] ?? 0) & 0x7f));
      return { ...response, dataBytes };
    }
  }
}

/** Residuals (RFC 7143 §11.4.5) must fit what was moved. */
function check(ended: Ended, expected: number, out: boolean): void {
  assert.ok(STATUSES.has(ended.status), `status ${ended.status}`);
  if (ended.residual === 'none') assert.equal(ended.residualBytes, 0);
  if (ended.residual === 'underflow') {
    assert.ok(ended.residualBytes > 0 && ended.residualBytes <= expected);
    if (!out) assert.equal(ended.dataBytes, expected - ended.residualBytes);
  } else if (!out) {
    assert.equal(ended.dataBytes, expected, 'all that was expected');
  }
  if (ended.residual === 'overflow') assert.ok(ended.residualBytes > 0);
}

for (const [n, profile] of PROFILES.entries()) {
  const { name } = profile;
  const count = Math.ceil(CASES / PROFILES.length);
  test(`fuzz: CDBs: ${count} commands at a unit that is a ${name}`, async () => {
    const dice = new Dice(0x5bc3 + n);
    const growth = new Growth(count);
    const what = { cdb: '' };
    let b = new Bench(profile, dice);
    await b.i.login();
    for (let at = 0; at < count; at++) {
      if (at % COMMANDS_PER_UNIT === COMMANDS_PER_UNIT - 1) {
        await b.end();
        b = new Bench(profile, dice);
        await b.i.login();
      }
      try {
        await run(b, dice, what);
      } catch (e) {
        throw new Error(`command ${at}, CDB ${what.cdb}: ${String(e)}`, { cause: e });
      }
      assert.deepEqual(b.complaints, [], what.cdb);
      growth.after(at);
    }
    await b.end();
  });
}

test('fuzz: CDBs: what was found once', async () => {
  const text = readFileSync(new URL('corpus/cdb-lines.txt', import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => /^[0-9a-f]{2}/.test(line));
  assert.ok(lines.length > 0);
  for (const profile of PROFILES) {
    for (const line of lines) {
      const b = new Bench(profile, new Dice(3));
      await b.i.login();
      const [cdb = '', data = ''] = line.split(' | ').map((part) => part.replaceAll(' ', ''));
      const list = Buffer.from(data, 'hex');
      const pdu = b.i.commandPdu([...Buffer.from(cdb, 'hex')], {
        write: list.length > 0,
        read: list.length === 0,
        expectedLengthBytes: list.length > 0 ? list.length : 65_536,
        data: list,
      });
      b.i.send(encodeScsiCommand(pdu));
      const ended = await answers(b, pdu.initiatorTaskTag, list);
      check(ended, list.length > 0 ? list.length : 65_536, list.length > 0);
      assert.deepEqual(b.complaints, [], line);
      await b.end();
    }
  }
});
