import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CounterDevice, CryptDevice, EphemeralKey, ReadOnlyDevice } from '#block/mod.ts';
import type { AtomicLog, BlockDevice } from '#block/mod.ts';
import type { CommandRow } from '#scsi/mod.ts';
import { bench } from './scsi-bench.ts';
import type { Bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';
import type { Ended } from './scsi-initiator.ts';

/** One call of each row that ends well, on a fresh unit: CDB, and the data it takes. */
type Example = {
  readonly cdb: string;
  readonly out?: Buffer;
  /** Other than GOOD. */
  readonly status?: number;
  /** What has to be there before. */
  readonly before?: (b: Bench) => Promise<unknown>;
  /** Of the disk; a small one when left out. */
  readonly sizeBytes?: number;
};

const KEY = '00000000000000aa';
const registerAa = (b: Bench): Promise<Ended> =>
  b.one.run(hex('5f 00 00 00 00 00 00 00 18 00'), { out: list('00'.repeat(8), KEY) });

/** A PERSISTENT RESERVE OUT parameter list. */
function list(key: string, actionKey: string, flags = 0): Buffer {
  return Buffer.concat([hex(key), hex(actionKey), hex('00000000'), Buffer.from([flags, 0, 0, 0])]);
}

/** A REGISTER AND MOVE parameter list to port 1, 80 bytes long. */
function moveList(key: string, newKey: string, initiatorPort: string): Buffer {
  const out = Buffer.concat([hex(key), hex(newKey), Buffer.alloc(64)]);
  out[19] = 1;
  out.writeUInt32BE(56, 20);
  out.set([0x45, 0, 0, 52], 24);
  out.write(initiatorPort, 28);
  return out;
}

const block = Buffer.alloc(512, 0xa5);
const modeList6 = hex('00 00 00 00 08 12 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00');
const modeList10 = Buffer.concat([Buffer.alloc(8), modeList6.subarray(4)]);
const copyList = selfCopy();
/** A parameter list that copies four blocks of the unit to LBA 8 of the same. */
function selfCopy(): Buffer {
  const header = Buffer.alloc(16);
  header[0] = 7;
  header.writeUInt16BE(32, 2);
  header.writeUInt32BE(28, 8);
  const device = Buffer.alloc(32);
  device.set([0xe4, 0, 0, 0, 0x01, 0x03, 0, 8], 0);
  hex('3000000000000001').copy(device, 8);
  device.writeUIntBE(512, 29, 3);
  const segment = Buffer.alloc(28);
  segment.set([0x02, 0, 0, 0x18], 0);
  segment.writeUInt16BE(4, 10);
  segment.writeUInt32BE(8, 24);
  return Buffer.concat([header, device, segment]);
}

const EXAMPLES: Readonly<Record<string, Example>> = {
  'TEST UNIT READY': { cdb: '00 00 00 00 00 00' },
  'REQUEST SENSE': { cdb: '03 00 00 00 ff 00' },
  INQUIRY: { cdb: '12 00 00 00 ff 00' },
  'MODE SELECT(6)': { cdb: '15 10 00 00 18 00', out: modeList6 },
  'RESERVE(6)': { cdb: '16 00 00 00 00 00' },
  'RELEASE(6)': { cdb: '17 00 00 00 00 00' },
  'MODE SENSE(6)': { cdb: '1a 00 3f 00 ff 00' },
  'SEND DIAGNOSTIC': { cdb: '1d 04 00 00 00 00' },
  'PREVENT ALLOW MEDIUM REMOVAL': { cdb: '1e 00 00 00 01 00' },
  'LOG SENSE': { cdb: '4d 00 40 00 00 00 00 00 ff 00' },
  'MODE SELECT(10)': { cdb: '55 10 00 00 00 00 00 00 1c 00', out: modeList10 },
  'RESERVE(10)': { cdb: '56 00 00 00 00 00 00 00 00 00' },
  'RELEASE(10)': { cdb: '57 00 00 00 00 00 00 00 00 00' },
  'MODE SENSE(10)': { cdb: '5a 00 3f 00 00 00 00 00 ff 00' },
  'PR IN READ KEYS': { cdb: '5e 00 00 00 00 00 00 00 ff 00' },
  'PR IN READ RESERVATION': { cdb: '5e 01 00 00 00 00 00 00 ff 00' },
  'PR IN REPORT CAPABILITIES': { cdb: '5e 02 00 00 00 00 00 00 ff 00' },
  'PR IN READ FULL STATUS': { cdb: '5e 03 00 00 00 00 00 00 ff 00' },
  'PR OUT REGISTER': { cdb: '5f 00 00 00 00 00 00 00 18 00', out: list('00'.repeat(8), KEY) },
  'PR OUT RESERVE': {
    cdb: '5f 01 01 00 00 00 00 00 18 00',
    out: list(KEY, '00'.repeat(8)),
    before: registerAa,
  },
  'PR OUT RELEASE': {
    cdb: '5f 02 01 00 00 00 00 00 18 00',
    out: list(KEY, '00'.repeat(8)),
    before: registerAa,
  },
  'PR OUT CLEAR': {
    cdb: '5f 03 00 00 00 00 00 00 18 00',
    out: list(KEY, '00'.repeat(8)),
    before: registerAa,
  },
  'PR OUT PREEMPT': {
    cdb: '5f 04 01 00 00 00 00 00 18 00',
    out: list(KEY, KEY),
    before: registerAa,
  },
  'PR OUT PREEMPT AND ABORT': {
    cdb: '5f 05 01 00 00 00 00 00 18 00',
    out: list(KEY, KEY),
    before: registerAa,
  },
  'PR OUT REGISTER AND IGNORE EXISTING KEY': {
    cdb: '5f 06 00 00 00 00 00 00 18 00',
    out: list('ff'.repeat(8), KEY),
  },
  'PR OUT REGISTER AND MOVE': {
    cdb: '5f 07 01 00 00 00 00 00 50 00',
    out: moveList(KEY, KEY, 'iqn.2026-11.org.polyboot:heir,i,0x00023d000009'),
    before: async (b) => {
      await registerAa(b);
      const cdb = hex('5f 01 01 00 00 00 00 00 18 00');
      await b.one.run(cdb, { out: list(KEY, '00'.repeat(8)) });
    },
  },
  'EXTENDED COPY(LID1)': {
    cdb: '83 00 00 00 00 00 00 00 00 00 00 00 00 4c 00 00',
    out: copyList,
  },
  'RECEIVE COPY STATUS(LID1)': {
    cdb: '84 00 07 00 00 00 00 00 00 00 00 00 00 ff 00 00',
    before: (b) =>
      b.one.run(hex('83 00 00 00 00 00 00 00 00 00 00 00 00 4c 00 00'), { out: copyList }),
  },
  'RECEIVE COPY OPERATING PARAMETERS': {
    cdb: '84 03 00 00 00 00 00 00 00 00 00 00 00 ff 00 00',
  },
  'REPORT LUNS': { cdb: 'a0 00 00 00 00 00 00 00 00 ff 00 00' },
  'REPORT TARGET PORT GROUPS': { cdb: 'a3 0a 00 00 00 00 00 00 00 ff 00 00' },
  'REPORT SUPPORTED OPERATION CODES': { cdb: 'a3 0c 00 00 00 00 00 00 0f ff 00 00' },
  'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS': { cdb: 'a3 0d 00 00 00 00 00 00 00 ff 00 00' },
  'READ(6)': { cdb: '08 00 00 00 01 00' },
  'WRITE(6)': { cdb: '0a 00 00 00 01 00', out: block },
  'START STOP UNIT': { cdb: '1b 00 00 00 01 00' },
  'READ CAPACITY(10)': { cdb: '25 00 00 00 00 00 00 00 00 00' },
  'READ(10)': { cdb: '28 00 00 00 00 00 00 00 01 00' },
  'WRITE(10)': { cdb: '2a 00 00 00 00 00 00 00 01 00', out: block },
  'WRITE AND VERIFY(10)': { cdb: '2e 02 00 00 00 00 00 00 01 00', out: block },
  'VERIFY(10)': { cdb: '2f 00 00 00 00 00 00 00 01 00' },
  'PRE-FETCH(10)': { cdb: '34 00 00 00 00 00 00 00 01 00', status: 0x04 },
  'SYNCHRONIZE CACHE(10)': { cdb: '35 00 00 00 00 00 00 00 00 00' },
  'READ DEFECT DATA(10)': { cdb: '37 00 18 00 00 00 00 00 ff 00' },
  'WRITE SAME(10)': { cdb: '41 00 00 00 00 00 00 00 04 00', out: block },
  UNMAP: {
    cdb: '42 00 00 00 00 00 00 00 18 00',
    out: hex(`0016 0010 00000000 ${'00'.repeat(11)} 08 00000000`),
  },
  'SANITIZE OVERWRITE': {
    cdb: '48 01 00 00 00 00 00 00 08 00',
    out: hex('01 00 00 04 de ad be ef'),
  },
  'SANITIZE BLOCK ERASE': { cdb: '48 02 00 00 00 00 00 00 00 00' },
  'SANITIZE CRYPTOGRAPHIC ERASE': { cdb: '48 03 00 00 00 00 00 00 00 00' },
  'SANITIZE EXIT FAILURE MODE': { cdb: '48 1f 00 00 00 00 00 00 00 00' },
  'READ(16)': { cdb: '88 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00' },
  'COMPARE AND WRITE': {
    cdb: '89 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00',
    out: Buffer.concat([Buffer.alloc(512), block]),
  },
  'WRITE(16)': { cdb: '8a 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'ORWRITE(16)': { cdb: '8b 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'WRITE AND VERIFY(16)': { cdb: '8e 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'VERIFY(16)': {
    cdb: '8f 02 00 00 00 00 00 00 00 00 00 00 00 01 00 00',
    out: Buffer.alloc(512),
  },
  'PRE-FETCH(16)': { cdb: '90 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00', status: 0x04 },
  'SYNCHRONIZE CACHE(16)': { cdb: '91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00' },
  'WRITE SAME(16)': { cdb: '93 01 00 00 00 00 00 00 00 00 00 00 00 04 00 00' },
  'WRITE ATOMIC(16)': { cdb: '9c 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'READ CAPACITY(16)': { cdb: '9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00' },
  'GET LBA STATUS': { cdb: '9e 12 00 00 00 00 00 00 00 00 00 00 00 18 00 00' },
  'READ(12)': { cdb: 'a8 00 00 00 00 00 00 00 00 01 00 00' },
  'WRITE(12)': { cdb: 'aa 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'WRITE AND VERIFY(12)': { cdb: 'ae 00 00 00 00 00 00 00 00 01 00 00', out: block },
  'VERIFY(12)': { cdb: 'af 06 00 00 00 00 00 00 00 01 00 00', out: Buffer.alloc(512) },
  'READ DEFECT DATA(12)': { cdb: 'b7 18 00 00 00 00 00 00 00 ff 00 00' },
  'READ TOC/PMA/ATIP': { cdb: '43 02 00 00 00 00 01 00 ff 00' },
  'GET CONFIGURATION': { cdb: '46 00 00 00 00 00 00 00 ff 00' },
  'GET EVENT STATUS NOTIFICATION': { cdb: '4a 01 00 00 10 00 00 00 ff 00' },
  'READ DISC INFORMATION': { cdb: '51 00 00 00 00 00 00 00 ff 00' },
  'READ TRACK INFORMATION': { cdb: '52 01 00 00 00 01 00 00 ff 00' },
  'READ DVD STRUCTURE': { cdb: 'ad 00 00 00 00 00 00 00 0f ff 00 00', sizeBytes: 2 ** 30 },
  'READ CD': { cdb: 'be 00 00 00 00 00 00 00 01 10 00 00' },
  'MECHANISM STATUS': { cdb: 'bd 00 00 00 00 00 00 00 00 ff 00 00' },
};

/** As good as a log where nothing survives anyway. */
const atomicLog: AtomicLog = {
  bytesMax: 64 * 1024,
  write: async (device, offset, data) => {
    await Promise.resolve();
    device.tryWrite(offset, data, 0, data.length);
  },
};
const aborts = { abortTasks: (): boolean => false, atomicLog };

const encrypted = (memory: BlockDevice): BlockDevice => new CryptDevice(memory, new EphemeralKey());

/** Read-only, with a key where the row needs one. */
function readOnly(row: CommandRow, memory: BlockDevice): BlockDevice {
  return row.scope === 'encrypted'
    ? new CryptDevice(new ReadOnlyDevice(memory), new EphemeralKey())
    : new ReadOnlyDevice(memory);
}

/** A unit that has the row; `wrap` is put over its memory. */
function fresh(row: CommandRow, wrap = (memory: BlockDevice): BlockDevice => memory): Bench {
  const size = EXAMPLES[row.name]?.sizeBytes;
  if (row.scope === 'cdrom') return bench({ kind: 'cdrom' }, undefined, size);
  if (row.scope === 'encrypted') return bench(aborts, (memory) => encrypted(wrap(memory)));
  return bench({ removable: row.scope === 'removable', ...aborts }, wrap);
}

/** A unit on which the row's example ends well. */
async function prepared(row: CommandRow): Promise<Bench> {
  const b = fresh(row);
  await EXAMPLES[row.name]?.before?.(b);
  return b;
}

/** Commands that refuse an allocation length in which nothing useful has room. */
const LEAST_ALLOCATION: Readonly<Record<string, number>> = {
  'REPORT LUNS': 16,
  'GET LBA STATUS': 24,
};

/** They change what is stored without writing it. */
const UNSEEN: ReadonlySet<string> = new Set([
  'SANITIZE CRYPTOGRAPHIC ERASE',
  'SANITIZE EXIT FAILURE MODE',
]);

function changes(c: CounterDevice): number {
  return c.residentWrites + c.waitingWrites + c.discards + c.zeroes;
}

async function reserveBy(other: Initiator, type: number): Promise<void> {
  await other.run(hex('5f 06 00 00 00 00 00 00 18 00'), { out: list('00'.repeat(8), KEY) });
  const cdb = hex('5f 01 00 00 00 00 00 00 18 00');
  cdb[2] = type;
  assert.equal((await other.run(cdb, { out: list(KEY, '00'.repeat(8)) })).status, 0);
}

function rows(): CommandRow[] {
  const units = [
    bench({ atomicLog }, encrypted),
    bench({ removable: true }),
    bench({ kind: 'cdrom' }),
  ];
  const all = new Map(units.flatMap((b) => b.unit.commands.rows.map((r) => [r.name, r] as const)));
  return [...all.values()];
}

function exampleOf(row: CommandRow): Example {
  const example = EXAMPLES[row.name];
  assert.ok(example !== undefined, `${row.name} needs an example in this test`);
  return example;
}

function call(one: Initiator, example: Example, cdb = hex(example.cdb)): Promise<Ended> {
  return one.run(cdb, example.out === undefined ? {} : { out: example.out });
}

test('table: every row has an example here, and no example is left over', () => {
  const names = rows().map((r) => r.name);
  assert.ok(names.length >= 60, 'the table is there');
  assert.deepEqual(Object.keys(EXAMPLES).toSorted(), names.toSorted());
});

for (const row of rows()) {
  const name = row.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');

  test(`${name}_simple`, async () => {
    const b = fresh(row);
    const example = exampleOf(row);
    await example.before?.(b);
    const ended = await call(b.one, example);
    assert.equal(ended.status, example.status ?? 0, ended.sense);
  });

  test(`${name}_cdb-bits: each bit that is not looked at is refused, and named`, async () => {
    const b = fresh(row);
    const example = exampleOf(row);
    await example.before?.(b);
    for (let byte = 1; byte < row.cdb.length; byte++) {
      const action = byte === 1 && row.action >= 0 ? 0x1f : 0;
      const extra = ~((row.cdb[byte] ?? 0) | action) & 0xff;
      for (let bit = 0; bit < 8; bit++) {
        if ((extra & (1 << bit)) === 0) continue;
        const cdb = hex(example.cdb);
        cdb[byte] = (cdb[byte] ?? 0) | (1 << bit);
        const ended = await call(b.one, example, cdb);
        assert.equal(ended.sense, '5/24/00', `byte ${byte} bit ${bit}`);
        // SKSV, C/D, BPV, the bit; then the byte.
        assert.deepEqual([ended.raw[15], ended.raw[16], ended.raw[17]], [0xc8 | bit, 0, byte]);
      }
    }
  });

  if (row.lba !== null) {
    const rule = row.lba;
    test(`${name}_beyond-eol`, async () => {
      const b = fresh(row);
      const example = exampleOf(row);
      const blocks = b.unit.blocks;
      const far =
        rule.lbaBytes === 8 ? ['ff'.repeat(8), '8000000000000000', '0020000000000000'] : [];
      const just = blocks.toString(16).padStart(2 * rule.lbaBytes, '0');
      for (const lba of [just, ...far, 'ff'.repeat(rule.lbaBytes)]) {
        const cdb = hex(example.cdb);
        cdb.set(hex(lba), rule.lbaAt);
        if (rule.lbaBytes === 3) cdb[1] = (cdb[1] ?? 0) & 0x1f;
        const ended = await call(b.one, example, cdb);
        assert.equal(ended.sense, '5/21/00', lba);
      }
    });

    if (rule.moves && rule.countBytes === 4) {
      test(`${name}_too-long: more than MAXIMUM TRANSFER LENGTH`, async () => {
        const b = bench({ ...aborts });
        const cdb = hex(exampleOf(row).cdb);
        cdb.writeUInt32BE(0x10001, rule.countAt);
        // The medium is smaller than that, so the range check comes first.
        assert.equal((await call(b.one, exampleOf(row), cdb)).sense, '5/21/00');
      });
    }
  }

  test(`${name}_reserved: what another initiator may do while the unit is reserved`, async () => {
    const verdicts: boolean[] = [];
    for (const type of [0x01, 0x03]) {
      const b = fresh(row);
      const other = new Initiator(b.set, 'iqn.2026-11.org.polyboot:two');
      await reserveBy(other, type);
      const example = exampleOf(row);
      const ended = await call(b.one, example);
      verdicts.push(ended.status === 0x18);
    }
    if (row.reservation === 'own') return;
    const expected = { always: [false, false], allowed: [false, false], start: [false, false] };
    const strict = { read: [false, true], write: [true, true], prevent: [true, true] };
    // RELEASE is refused while there are registrations (CRH = 0).
    const legacy = row.name.startsWith('RELEASE') ? [true, true] : undefined;
    assert.deepEqual(verdicts, legacy ?? { ...expected, ...strict }[row.reservation]);
  });

  const { allocation } = row;
  if (allocation !== null) {
    test(`${name}_alloclen: every allocation length from 0 on cuts the same data`, async () => {
      const example = exampleOf(row);
      const asking = async (b: Bench, length: number): Promise<Ended> => {
        const cdb = hex(example.cdb);
        cdb.writeUIntBE(length, allocation.at, Math.min(allocation.bytes, 6));
        return call(b.one, example, cdb);
      };
      const most = Math.min(2 ** (8 * allocation.bytes) - 1, 0xffff);
      let b = await prepared(row);
      const full = (await asking(b, most)).data;
      assert.ok(full.length > 0);
      for (let length = 0; length <= Math.min(full.length + 2, 300); length++) {
        if (example.before !== undefined) b = await prepared(row);
        const ended = await asking(b, length);
        if (length < (LEAST_ALLOCATION[row.name] ?? 0)) {
          assert.equal(ended.sense, '5/24/00', `${length}`);
        } else {
          assert.deepEqual([ended.status, ended.sense], [0, '']);
          assert.ok(ended.data.equals(full.subarray(0, length)), `${length}`);
        }
      }
    });
  }

  if (row.lba !== null && row.lba.countBytes > 0) {
    const rule = row.lba;
    test(`${name}_lba-overflow: the last block is there, one more is not`, async () => {
      const b = await prepared(row);
      const example = exampleOf(row);
      for (const count of ['02', 'ff'.repeat(rule.countBytes)]) {
        const cdb = hex(example.cdb);
        const last = (b.unit.blocks - 1).toString(16).padStart(2 * rule.lbaBytes, '0');
        cdb.set(hex(last), rule.lbaAt);
        cdb.set(hex(count.padStart(2 * rule.countBytes, '0')), rule.countAt);
        assert.equal((await call(b.one, example, cdb)).sense, '5/21/00', count);
      }
    });
  }

  if (row.reservation === 'write') {
    test(`${name}_conflict: of every reservation type, and of RESERVE(6)`, async () => {
      for (const type of [0, 1, 3, 5, 6, 7, 8]) {
        const b = fresh(row);
        const other = new Initiator(b.set, 'iqn.2026-11.org.polyboot:two');
        if (type === 0) await other.run(hex('16 00 00 00 00 00'));
        else await reserveBy(other, type);
        assert.equal((await call(b.one, exampleOf(row))).status, 0x18, `type ${type}`);
        assert.equal(b.memory.extentAt(0, b.memory.sizeBytes).state, 'hole');
      }
    });
  }

  test(`${name}_oracle: what writes to the device is declared to write`, async () => {
    let counter: CounterDevice | undefined;
    const b = fresh(row, (memory) => (counter = new CounterDevice(memory)));
    await exampleOf(row).before?.(b);
    const before = counter === undefined ? 0 : changes(counter);
    await call(b.one, exampleOf(row));
    const after = counter === undefined ? 0 : changes(counter);
    // EXTENDED COPY asks for the rights of each unit that it touches itself.
    const declared = row.writes || row.name.startsWith('EXTENDED COPY');
    if (after > before) assert.deepEqual([declared, row.reservation], [true, 'write']);
    else assert.ok(!row.writes || UNSEEN.has(row.name), 'it is declared to write, and does not');
  });

  if (row.writes) {
    test(`${name}_read-only: DATA PROTECT`, async () => {
      const b = bench(aborts, (memory) => readOnly(row, memory));
      const ended = await call(b.one, exampleOf(row));
      assert.equal(ended.sense, '7/27/00');
    });

    test(`${name}_software-write-protect: DATA PROTECT while SWP is set`, async () => {
      const b = fresh(row);
      const swp = hex('00 00 00 00 0a 0a 20 10 08 00 00 00 00 00 00 00');
      assert.equal((await b.one.run(hex('15 10 00 00 10 00'), { out: swp })).status, 0);
      assert.equal((await call(b.one, exampleOf(row))).sense, '7/27/02');
    });
  }

  if (row.needs === 'medium') {
    test(`${name}_no-medium: NOT READY`, async () => {
      const b = bench({
        kind: row.scope === 'cdrom' ? 'cdrom' : 'disk',
        removable: true,
        ...aborts,
      });
      await b.one.run(hex('1b 00 00 00 02 00'));
      const ended = await call(b.one, exampleOf(row));
      assert.equal(ended.sense, row.scope === 'cdrom' ? '2/3a/02' : '2/3a/00');
    });
  }
}

test('table: REPORT SUPPORTED OPERATION CODES says of every row what the table says', async () => {
  for (const b of [
    bench({ atomicLog }, encrypted),
    bench({ removable: true }),
    bench({ kind: 'cdrom' }),
  ]) {
    const all = await b.one.run(hex('a3 0c 80 00 00 00 00 00 ff ff 00 00'));
    const count = all.data.readUInt32BE(0) / 20;
    assert.equal(count, b.unit.commands.rows.length);
    for (let i = 0; i < count; i++) {
      const d = all.data.subarray(4 + 20 * i, 24 + 20 * i);
      const row = b.unit.commands.rows[i];
      assert.ok(row !== undefined);
      assert.equal(d[0], row.cdb[0]);
      assert.equal(d.readUInt16BE(6), row.cdb.length);
      assert.equal((d[5] ?? 0) & 1, row.action >= 0 ? 1 : 0);
      const ask = Buffer.from([0xa3, 0x0c, row.action >= 0 ? 2 : 1, d[0] ?? 0, 0, d[3] ?? 0]);
      const one = await b.one.run(Buffer.concat([ask, hex('00 00 00 ff 00 00')]));
      assert.deepEqual(one.data.subarray(4), Buffer.from(row.cdb), row.name);
      const wrong = Buffer.from([0xa3, 0x0c, row.action >= 0 ? 1 : 2, d[0] ?? 0, 0, d[3] ?? 0]);
      const refused = await b.one.run(Buffer.concat([wrong, hex('00 00 00 ff 00 00')]));
      assert.equal(refused.sense, '5/24/00', row.name);
    }
  }
});

test('table: an operation code without a row is INVALID COMMAND OPERATION CODE', async () => {
  const b = bench();
  const known = new Set(b.unit.commands.rows.map((r) => r.cdb[0]));
  for (let opcode = 0; opcode < 256; opcode++) {
    if (known.has(opcode)) continue;
    const cdb = Buffer.alloc(16);
    cdb[0] = opcode;
    assert.equal((await b.one.run(cdb)).sense, '5/20/00', opcode.toString(16));
  }
});
