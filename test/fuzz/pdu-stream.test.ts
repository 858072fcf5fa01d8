import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { MemoryDevice } from '#block/mod.ts';
import { FakeClock, silentLog } from '#base/mod.ts';
import type { Log } from '#base/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { RECEIVE_SEGMENT_BYTES_MAX } from '#iscsi/limits.ts';
import { Opcode, RESERVED_TAG, decodeNopIn, encodeNopOut, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { TestInitiator, USUAL_KEYS } from '#iscsi/testing/initiator.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { Dice, Growth, cases, settled, turn } from './dice.ts';
import { SessionScript } from './session-script.ts';
import { ShakyDevice } from './shaky-device.ts';
import { missingBytes } from './stream-model.ts';

const TARGET = 'iqn.2026-11.test:disk';
const DISK_BYTES = 1024 * 1024;
const CASES = cases(40_000);
const CORPUS = new URL('corpus/', import.meta.url);
const PROBE_TAG = 0x7e57;

/** One server for all cases, with a witness whose own unit nobody may touch. */
class Stage {
  readonly complaints: string[] = [];
  readonly server: TargetServer;
  readonly disk: ShakyDevice;
  #witness: TestInitiator | null = null;
  #turns = 0;

  constructor(dice: Dice, coldOnly = false) {
    const note = (_fields: unknown, message: string): void => {
      this.complaints.push(message);
    };
    const log: Log = { ...silentLog, error: note };
    this.server = new TargetServer({ log, clock: new FakeClock() });
    this.disk = new ShakyDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }), dice, coldOnly);
    const units = new LogicalUnitSet({ targetName: TARGET });
    const own = new MemoryDevice({ sizeBytes: DISK_BYTES });
    for (const [lun, device] of [this.disk, own].entries()) {
      const naa = `300000000000000${lun + 1}`;
      const names = { vendor: 'POLYBOOT', product: 'FUZZ', revision: '1', serial: `f-${lun}`, naa };
      units.add(lun, new LogicalUnit({ device, identity: names }));
    }
    this.server.addExport({ iqn: TARGET, access: 'any', takeover: false }, units);
  }

  /**
   * The witness writes and reads on its own unit, and gets what it wrote. A cold reset may end its
   * session, now or before: then it comes again.
   */
  async witness(): Promise<void> {
    for (let attempt = 0; attempt < 3; attempt++) {
      let i = this.#witness;
      if (i === null || i.closed) {
        i = new TestInitiator(this.server);
        await i.login({ initiator: 'iqn.2026-11.test:witness' });
        this.#witness = i;
      }
      try {
        await this.#works(i);
        return;
      } catch (e) {
        if (!i.closed) throw e;
      }
    }
    assert.fail('the witness is thrown out again and again');
  }

  async #works(i: TestInitiator): Promise<void> {
    const mark = new Uint8Array(512).fill((this.#turns += 1) & 255);
    const lba = this.#turns % 1000;
    const cdb = (opcode: number): number[] => [opcode, 0, 0, 0, lba >> 8, lba & 255, 0, 0, 1, 0];
    // Resets of others are told by unit attentions, several at most.
    for (let n = 0; n < 6; n++) {
      const test = await i.command([0, 0, 0, 0, 0, 0], { lun: 1 });
      if (test.status === 0) break;
    }
    const written = await i.command(cdb(0x2a), { lun: 1, write: mark, immediateBytes: 512 });
    assert.equal(written.status, 0, 'the witness writes');
    const read = await i.command(cdb(0x28), { lun: 1, readBytes: 512 });
    assert.ok(read.data.equals(mark), 'the witness reads what it wrote');
  }

  get sessions(): number {
    return this.server.stats().sessions.length;
  }
}

/** A ping, after whatever the stream is in the middle of; true when it is answered. */
function probe(i: TestInitiator, stream: Uint8Array): boolean | 'over' {
  for (;;) {
    const missing = missingBytes(stream, i.digests, RECEIVE_SEGMENT_BYTES_MAX);
    if (missing === null) return 'over';
    if (missing === 0) break;
    // The end of a header may turn out to announce more.
    i.sendBytes(new Uint8Array(missing));
    stream = Buffer.concat([stream, new Uint8Array(missing)]);
  }
  if (i.closed) return 'over';
  i.received.length = 0;
  i.send(
    encodeNopOut({
      immediate: true,
      lun: 0,
      initiatorTaskTag: PROBE_TAG,
      targetTransferTag: RESERVED_TAG,
      cmdSn: 0,
      expStatSn: 0,
      data: new Uint8Array(),
    }),
  );
  return i.received.some(
    (p) => opcodeOf(p) === Opcode.NOP_IN && decodeNopIn(p).initiatorTaskTag === PROBE_TAG,
  );
}

/** Plays one stream into a session that is logged in, and looks at how it stands afterwards. */
async function play(
  stage: Stage,
  keys: readonly KeyValue[],
  pieces: (i: TestInitiator) => Iterable<Uint8Array>,
  what: string,
  turns = true,
): Promise<void> {
  const i = new TestInitiator(stage.server);
  assert.equal((await i.login({ keys })).status, 0);
  await i.command([0, 0, 0, 0, 0, 0]);
  const sent: Uint8Array[] = [];
  for (const piece of pieces(i)) {
    if (i.closed) break;
    i.sendBytes(piece);
    sent.push(piece);
    if (turns && sent.length % 8 === 0) await turn();
  }
  // Answered, rejected or closed: never neither.
  if (!i.closed) {
    const answered = probe(i, Buffer.concat(sent));
    if (answered === false) await settled(() => i.closed || i.received.length > 0, what);
    if (answered === 'over') await settled(() => i.closed, `${what}: a segment too long`);
  }
  i.connection.lost('the case is over');
  await settled(() => stage.disk.underWay === 0, `${what}: the disk`);
  await settled(() => stage.sessions <= 1, `${what}: only the witness is left`);
  await settled(() => stage.server.plane.chunks.taken === 0, `${what}: its buffers`);
  assert.deepEqual(stage.complaints, [], what);
}

const DIGESTS: readonly KeyValue[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];
const SMALL: readonly KeyValue[] = [
  ['MaxRecvDataSegmentLength', '512'],
  ['MaxBurstLength', '1024'],
  ['FirstBurstLength', '512'],
  ['MaxOutstandingR2T', '4'],
];
const KEY_SETS: readonly (readonly KeyValue[])[] = [USUAL_KEYS, SMALL, [...USUAL_KEYS, ...DIGESTS]];

test(`fuzz: PDU streams: ${CASES} mutated sessions end in an answer, a reject or a close`, async () => {
  const dice = new Dice(0x7143);
  const stage = new Stage(dice);
  const growth = new Growth(CASES);
  for (let n = 0; n < CASES; n++) {
    const keys = dice.pick(KEY_SETS);
    await play(stage, keys, (i) => new SessionScript(dice, i).pieces(), `case ${n}`);
    if (n % 50 === 0) await stage.witness();
    growth.after(n);
  }
  await stage.witness();
});

/** `KEY=VALUE` lines, then hexadecimal lines; `N x HEX` is sent N times. `#` begins a comment. */
function corpusEntry(text: string): { keys: KeyValue[]; pieces: Uint8Array[] } {
  const keys: KeyValue[] = [];
  const pieces: Uint8Array[] = [];
  for (const line of text.split('\n').map((l) => l.replace(/#.*/, '').trim())) {
    const pair = /^(\w+)=(\w+)$/.exec(line);
    const hex = /^(?:(\d+) x )?([0-9a-f ]+)$/.exec(line);
    if (pair !== null) keys.push([pair[1] ?? '', pair[2] ?? '']);
    else if (hex !== null) {
      const bytes = Buffer.from((hex[2] ?? '').replaceAll(' ', ''), 'hex');
      for (let n = 0; n < Number(hex[1] ?? 1); n++) pieces.push(bytes);
    } else assert.equal(line, '', 'a line of the corpus');
  }
  return { keys, pieces };
}

test('fuzz: PDU streams: what was found once', async () => {
  const stage = new Stage(new Dice(1), true);
  const names = readdirSync(CORPUS).filter((name) => name.startsWith('pdu-'));
  assert.ok(names.length > 0);
  for (const name of names) {
    const { keys, pieces } = corpusEntry(readFileSync(new URL(name, CORPUS), 'utf8'));
    await play(stage, [...USUAL_KEYS, ...keys], () => pieces, name, false);
    await stage.witness();
  }
});
