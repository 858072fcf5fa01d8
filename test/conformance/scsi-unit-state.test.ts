import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { LogicalUnit, LogicalUnitSet, openUnitState, parseUnitState } from '#scsi/mod.ts';
import { Running } from '../lab/process.ts';
import { IDENTITY } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';

const TWO = 'iqn.2026-11.org.polyboot:two';
const NO_KEY = '00'.repeat(8);
const KEY = '00000000000000aa';
const APTPL = '0000000001000000';
const WCE_OFF = Buffer.concat([Buffer.alloc(4), hex('08 12'), Buffer.alloc(18)]);
const CACHING = hex('1a 08 08 00 ff 00');

function home(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-unit-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

type Started = {
  readonly one: Initiator;
  readonly two: Initiator;
  readonly unit: LogicalUnit;
  readonly stop: () => Promise<void>;
};

/** A target whose unit keeps its state in a folder: a process that has just started. */
async function start(
  folder: string,
  device: BlockDevice = new MemoryDevice({ sizeBytes: 1024 * 1024 }),
): Promise<Started> {
  const open = await openUnitState(folder, 'disk-1', device);
  const set = new LogicalUnitSet();
  const unit = new LogicalUnit({ device, identity: IDENTITY, ...open.options });
  set.add(0, unit);
  return { one: new Initiator(set), two: new Initiator(set, TWO), unit, stop: open.close };
}

const write = hex('2a 00 00 00 00 00 00 00 01 00');
const register = hex('5f 00 00 00 00 00 00 00 18 00');
const out = Buffer.alloc(512);

test('32_aptpl_restart: registrations and the reservation are there again, for the same ports', async (t) => {
  const folder = home(t);
  const first = await start(folder);
  assert.equal((await first.one.run(register, { out: hex(NO_KEY + KEY + APTPL) })).status, 0);
  const reserve = hex('5f 01 03 00 00 00 00 00 18 00');
  assert.equal((await first.one.run(reserve, { out: hex(KEY + NO_KEY + NO_KEY) })).status, 0);
  await first.stop();
  const second = await start(folder);
  assert.equal((await second.two.run(write, { out })).status, 0x18);
  assert.equal((await second.one.run(write, { out })).status, 0);
  const capabilities = await second.one.run(hex('5e 02 00 00 00 00 00 00 ff 00'));
  assert.deepEqual([capabilities.data[2], capabilities.data[3]], [0x0d, 0x81]);
  // Registering without APTPL gives it up.
  assert.equal((await second.one.run(register, { out: hex(KEY + KEY + NO_KEY) })).status, 0);
  await second.stop();
  const third = await start(folder);
  assert.equal((await third.two.run(write, { out })).status, 0);
  await third.stop();
});

test('1_mode-select_sp: saved pages are there after a restart and a reset, others are not', async (t) => {
  const folder = home(t);
  const first = await start(folder);
  assert.equal((await first.one.run(CACHING)).data[4], 0x88, 'PS');
  assert.equal((await first.one.run(hex('15 10 00 00 18 00'), { out: WCE_OFF })).status, 0);
  await first.stop();
  const second = await start(folder);
  assert.equal((await second.one.run(CACHING)).data[6], 0x04);
  assert.equal((await second.one.run(hex('15 11 00 00 18 00'), { out: WCE_OFF })).status, 0);
  assert.equal((await second.two.run(hex('00 00 00 00 00 00'))).sense, '6/2a/01');
  second.unit.reset();
  assert.equal(second.unit.modes.writeCache, false);
  await second.stop();
  const third = await start(folder);
  assert.equal((await third.one.run(CACHING)).data[6], 0);
  assert.equal((await third.one.run(hex('1a 08 c8 00 ff 00'))).data[6], 0);
  assert.equal((await third.one.run(hex('1a 08 88 00 ff 00'))).data[6], 4);
  await third.stop();
});

test('write-atomic: a writable unit with a state folder has it, a read-only one has not', async (t) => {
  const folder = home(t);
  const disk = new MemoryDevice({ sizeBytes: 1024 * 1024 });
  const atomic = hex('9c 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00');
  const first = await start(folder, disk);
  assert.equal((await first.one.run(atomic, { out })).status, 0);
  await first.stop();
  const second = await start(folder, new ReadOnlyDevice(disk));
  assert.equal((await second.one.run(atomic, { out })).sense, '5/20/00');
  // Reservations of a disk that nobody writes are kept all the same.
  assert.equal((await second.one.run(register, { out: hex(NO_KEY + KEY + APTPL) })).status, 0);
  await second.stop();
});

test('state: damaged, foreign or in use is an error, never an empty state', async (t) => {
  const folder = home(t);
  const first = await start(folder);
  await assert.rejects(start(folder), { code: 'state-in-use' });
  await first.one.run(register, { out: hex(NO_KEY + KEY + APTPL) });
  await first.stop();
  const path = join(folder, 'disk-1.state');
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, whole.length - 1));
  await assert.rejects(start(folder), { code: 'state-damaged' });
  writeFileSync(path, whole);
  await (await start(folder)).stop();
});

test('state: only what a unit keeps is taken for it', () => {
  const port = { initiatorPort: 'iqn.x,i,0x1', targetPort: 1 };
  const good = {
    reservations: { registrations: [{ ...port, key: KEY }], holder: port, type: 3 },
    modePages: [{ saved: '0812', defaults: '0812' }],
  };
  assert.deepEqual(parseUnitState(JSON.parse(JSON.stringify(good))), good);
  const bad: unknown[] = [
    null,
    1,
    'x',
    [],
    {},
    { reservations: null },
    { ...good, modePages: [{ saved: 'zz', defaults: '' }] },
    { ...good, modePages: {} },
    { ...good, reservations: { ...good.reservations, type: '3' } },
    { ...good, reservations: { ...good.reservations, holder: 1 } },
    { ...good, reservations: { ...good.reservations, registrations: [{ ...port, key: 'aa' }] } },
    { ...good, reservations: { ...good.reservations, registrations: [{ key: KEY }] } },
  ];
  for (const value of bad) assert.throws(() => parseUnitState(value), { code: 'unit-state' });
});

/** One change in the child's order: `KEY TYPE WCE`. */
function parseLine(line: string): { key: number; wce: number } {
  const [key, , wce] = line.split(' ').map(Number);
  return { key: key ?? 0, wce: wce ?? 4 };
}

const KILLS = 12;

test('32_aptpl_kill: after kill -9 the state is the last acknowledged one, or the one under way', async (t) => {
  const folder = home(t);
  const child = fileURLToPath(new URL('scsi-unit-state-child.ts', import.meta.url));
  for (let kill = 0; kill < KILLS; kill++) {
    const running = new Running(process.execPath, [child, folder]);
    await running.waitFor(new RegExp(`^${1 + 7 * kill} 3`, 'm'));
    running.child.kill('SIGKILL');
    const { stdout } = await running.finished();
    const lines = stdout.slice(0, stdout.lastIndexOf('\n')).split('\n');
    const said = parseLine(lines.at(-1) ?? '');
    const after = await start(folder);
    const key = Number.parseInt(after.unit.reservations.registrations[0]?.key ?? '0', 16);
    const wce = after.unit.modes.writeCache ? 4 : 0;
    // Either nothing came after the last line, or the one change after it.
    const next = said.key % 3 === 0 && lines.at(-2)?.startsWith(`${said.key} `) !== true;
    const changed = next ? { key: said.key, wce: 4 - said.wce } : { ...said, key: said.key + 1 };
    const found = { key, wce };
    const known = [said, changed].some((s) => s.key === key && s.wce === wce);
    assert.ok(known, JSON.stringify({ found, said, changed }));
    assert.equal((await after.two.run(write, { out })).status, 0x18);
    await after.stop();
    rmSync(join(folder, 'disk-1.state'));
  }
});
