import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeClock, silentLog } from '#base/mod.ts';
import type { Log } from '#base/mod.ts';
import { MemoryDevice } from '#block/mod.ts';
import { LoginStatus, TargetServer } from '#iscsi/mod.ts';
import type { ChapCredentials } from '#iscsi/mod.ts';
import { NO_DIGESTS, decodeLoginResponse, encodeLoginRequest, framePdu } from '#iscsi/pdu/mod.ts';
import type { LoginResponse } from '#iscsi/pdu/mod.ts';
import { decodeText, encodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { Dice, Growth, cases } from './dice.ts';

const CASES = cases(30_000);
const OPEN = 'iqn.2026-11.test:open';
const CLOSED = 'iqn.2026-11.test:chap';
const CHAP: ChapCredentials = {
  user: 'machine',
  secret: 'a secret of 20 chars',
  mutualUser: 'server',
  mutualSecret: 'another secret here',
};
const STATUSES: ReadonlySet<number> = new Set(Object.values(LoginStatus));
/** Longer than any honest exchange, shorter than the server's own limit. */
const ROUNDS_MAX = 12;

const VALUES = [
  'Yes',
  'No',
  'None',
  'CHAP',
  'CHAP,None',
  'CRC32C,None',
  '0',
  '1',
  '-1',
  '512',
  '262144',
  '16777215',
  '99999999999',
  '0x10',
  '',
  'Normal',
  'Discovery',
  'Reject',
  'NotUnderstood',
  'Irrelevant',
  '?',
  'x'.repeat(300),
  OPEN,
  CLOSED,
];
const KEYS = [
  'InitiatorName',
  'TargetName',
  'SessionType',
  'InitiatorAlias',
  'TargetAlias',
  'TargetAddress',
  'TargetPortalGroupTag',
  'AuthMethod',
  'CHAP_A',
  'CHAP_I',
  'CHAP_C',
  'CHAP_N',
  'CHAP_R',
  'HeaderDigest',
  'DataDigest',
  'MaxConnections',
  'InitialR2T',
  'ImmediateData',
  'MaxRecvDataSegmentLength',
  'MaxBurstLength',
  'FirstBurstLength',
  'DefaultTime2Wait',
  'DefaultTime2Retain',
  'MaxOutstandingR2T',
  'DataPDUInOrder',
  'DataSequenceInOrder',
  'ErrorRecoveryLevel',
  'TaskReporting',
  'iSCSIProtocolLevel',
  'SendTargets',
  'OFMarker',
  'X-org.example',
];

/** What one login did that counts: whether the right answer to the last challenge was sent. */
class Login {
  readonly #dice: Dice;
  readonly i: TestInitiator;
  readonly target: string;
  proved = false;
  /** Text that is still to be sent, in pieces with the C bit. */
  #challenge: { id: number; bytes: Buffer } | null = null;
  #stage = 0;

  constructor(dice: Dice, server: TargetServer) {
    this.#dice = dice;
    this.i = new TestInitiator(server);
    this.target = dice.pick([OPEN, CLOSED, CLOSED]);
    this.#stage = dice.roll(3) === 0 ? 1 : 0;
  }

  /** Sends the next request and takes its answer; null when the connection is over. */
  async step(round: number): Promise<LoginResponse | null> {
    const dice = this.#dice;
    let text = this.#sensible(round);
    const spoilt = dice.roll(3) === 0;
    if (spoilt) text = this.#spoil(text);
    let data = Buffer.from(encodeText(text));
    if (spoilt && dice.once(6) && data.length > 0) data[dice.roll(data.length)] = dice.roll(256);
    if (spoilt && dice.once(12)) data = data.subarray(0, dice.roll(data.length + 1));
    const odd = spoilt && dice.once(4);
    const more = !odd && dice.once(10) && data.length > 1;
    const request = this.i.loginRequest([], {
      data: more ? data.subarray(0, 1 + dice.roll(data.length - 1)) : data,
      more: odd ? dice.once(2) : more,
      transit: odd ? dice.once(2) : !more && dice.roll(5) > 0,
      currentStage: odd ? dice.roll(4) : this.#stage,
      nextStage: odd ? dice.roll(4) : dice.pick([this.#stage + 1 === 2 ? 3 : this.#stage + 1, 3]),
      versionMin: odd ? dice.roll(2) : 0,
      tsih: odd && dice.once(4) ? dice.roll(3) : 0,
    });
    const answer = await this.#exchange(framePdu(encodeLoginRequest(request), NO_DIGESTS), spoilt);
    if (answer === null || !more || answer.status !== 0) return answer;
    const rest = data.subarray(request.data.length);
    const last = this.i.loginRequest([], { ...request, data: rest, more: false });
    return this.#exchange(framePdu(encodeLoginRequest(last), NO_DIGESTS), false);
  }

  async #exchange(bytes: Uint8Array, spoilt: boolean): Promise<LoginResponse | null> {
    const dice = this.#dice;
    if (spoilt && dice.once(10)) {
      // Not its length: what never comes is a matter of the deadline.
      const at = dice.pick([0, 1, 2, 3, 8, 9, 13, 14, 15, 16, 20, 24, 28, 40]);
      bytes[at] = dice.roll(256);
    }
    this.i.sendBytes(bytes);
    await Promise.resolve();
    const pdu = this.i.received.shift();
    if (pdu === undefined) return null;
    const response = decodeLoginResponse(pdu);
    assert.ok(STATUSES.has(response.status), `status 0x${response.status.toString(16)}`);
    this.#learn(response);
    return response;
  }

  #learn(response: LoginResponse): void {
    if (response.transit && response.nextStage === 1) this.#stage = 1;
    if (response.more) return;
    const keys = new Map(decodeText(response.data));
    const challenge = keys.get('CHAP_C');
    if (challenge === undefined || !keys.has('CHAP_I')) return;
    const bytes = Buffer.from(challenge.slice(2), 'hex');
    this.#challenge = { id: Number(keys.get('CHAP_I')), bytes };
  }

  /** What an honest initiator would say now. */
  #sensible(round: number): KeyValue[] {
    const dice = this.#dice;
    const names: KeyValue[] = [
      ['InitiatorName', 'iqn.2026-11.test:initiator'],
      ['TargetName', this.target],
    ];
    if (this.#stage === 1) {
      const some = KEYS.slice(13).filter(() => dice.once(4));
      return [...(round === 0 ? names : []), ...some.map((k): KeyValue => [k, dice.pick(VALUES)])];
    }
    if (round === 0) return [...names, ['AuthMethod', dice.pick(['CHAP', 'CHAP,None', 'None'])]];
    if (this.#challenge === null) return [['CHAP_A', dice.pick(['5', '5', '9,5', '7'])]];
    return this.#answer(this.#challenge);
  }

  /** To the last challenge: right in half of the cases, where the algorithm is MD5. */
  #answer({ id, bytes }: { id: number; bytes: Buffer }): KeyValue[] {
    const dice = this.#dice;
    const secret = dice.once(2) ? CHAP.secret : dice.pick(['wrong', '', CHAP.mutualSecret ?? '']);
    const name = dice.once(4) ? dice.pick(['', 'nobody', 'MACHINE']) : CHAP.user;
    const hash = createHash('md5').update(Uint8Array.of(id)).update(secret).update(bytes);
    this.proved ||= secret === CHAP.secret && name === CHAP.user;
    const text: KeyValue[] = [
      ['CHAP_N', name],
      ['CHAP_R', `0x${hash.digest('hex')}`],
    ];
    if (dice.once(4)) text.push(['CHAP_I', '1'], ['CHAP_C', `0x${bytes.toString('hex')}`]);
    return text;
  }

  #spoil(text: readonly KeyValue[]): KeyValue[] {
    const dice = this.#dice;
    const out = [...text];
    for (let n = 1 + dice.roll(3); n > 0; n--) {
      const at = dice.roll(out.length + 1);
      const pair: KeyValue = [dice.pick(KEYS), dice.pick(VALUES)];
      const kind = dice.roll(4);
      if (kind === 0) out.splice(at, 0, pair);
      else if (kind === 1) out.splice(at, 1);
      else if (kind === 2 && out[at] !== undefined) out.splice(at, 0, out[at]);
      else out.splice(at, 1, pair);
    }
    return out;
  }
}

function newServer(complaints: string[]): TargetServer {
  const note = (_fields: unknown, message: string): void => {
    complaints.push(message);
  };
  const log: Log = { ...silentLog, error: note };
  const server = new TargetServer({ log, clock: new FakeClock() });
  const device = new MemoryDevice({ sizeBytes: 1024 * 1024 });
  const units = new LogicalUnitSet({ targetName: OPEN });
  const naa = '3000000000000001';
  const names = { vendor: 'POLYBOOT', product: 'FUZZ', revision: '1', serial: 'f-0', naa };
  units.add(0, new LogicalUnit({ device, identity: names }));
  const config = { access: 'any', takeover: false } as const;
  server.addExport({ ...config, iqn: OPEN }, units);
  server.addExport({ ...config, iqn: CLOSED, chap: CHAP }, units);
  return server;
}

/** Plays one login; returns the target that let it in. */
async function play(dice: Dice, server: TargetServer): Promise<string | null> {
  const login = new Login(dice, server);
  let open = false;
  for (let round = 0; round < ROUNDS_MAX && !open; round++) {
    const answer = await login.step(round);
    if (answer === null || answer.status !== 0) break;
    open = answer.transit && answer.nextStage === 3;
  }
  const [session] = server.stats().sessions;
  if (session?.targetName === CLOSED) {
    assert.ok(login.proved && session.authenticated, 'nobody gets in without the secret');
  }
  assert.equal(session !== undefined, open, 'a session is one that was granted');
  login.i.connection.lost('the case is over');
  assert.equal(server.stats().sessions.length, 0);
  assert.equal(server.stats().halfOpen, 0);
  assert.equal(server.plane.chunks.taken, 0);
  return session?.targetName ?? null;
}

test(`fuzz: logins: ${CASES} exchanges; nobody gets in who did not prove it`, async () => {
  const complaints: string[] = [];
  const server = newServer(complaints);
  const dice = new Dice(0x1994);
  const growth = new Growth(CASES);
  const opened = new Map<string | null, number>();
  for (let n = 0; n < CASES; n++) {
    const by = await play(dice, server);
    opened.set(by, (opened.get(by) ?? 0) + 1);
    assert.deepEqual(complaints, [], `case ${n}`);
    growth.after(n);
  }
  for (const how of [OPEN, CLOSED, null]) {
    const times = opened.get(how) ?? 0;
    assert.ok(times > CASES / 100, `${how ?? 'nowhere'}: ${times} of ${CASES}`);
  }
});

test('fuzz: logins: what was found once', async () => {
  const text = readFileSync(new URL('corpus/login-seeds.txt', import.meta.url), 'utf8');
  const seeds = text.split('\n').filter((line) => /^\d/.test(line));
  assert.ok(seeds.length > 0);
  const complaints: string[] = [];
  const server = newServer(complaints);
  for (const seed of seeds) await play(new Dice(Number.parseInt(seed, 10)), server);
  assert.deepEqual(complaints, []);
});
