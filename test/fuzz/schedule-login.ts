/** What a session of a random schedule begins with: a disk of moods, and a login of any kind. */
import assert from 'node:assert/strict';
import * as pdus from '#iscsi/pdu/mod.ts';
import { decodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { TEST_DISK_BYTES, TEST_TARGET } from '#iscsi/testing/disk.ts';
import { GateDevice } from '#iscsi/testing/gate-device.ts';
import type { TestInitiator } from '#iscsi/testing/initiator.ts';
import type { Dice } from './dice.ts';

/** What the login agreed on. */
export type Agreed = {
  readonly immediateData: boolean;
  readonly initialR2t: boolean;
  readonly firstBurstBytes: number;
  readonly maxBurstBytes: number;
};

/** A disk of which any read or write may be resident. */
export class MoodyDevice extends GateDevice {
  moody = false;
  readonly #dice: Dice;

  constructor(dice: Dice) {
    super({ sizeBytes: TEST_DISK_BYTES });
    this.#dice = dice;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.moody || this.#dice.once(2)) return false;
    into.set(this.content(offset, lengthBytes), at);
    return true;
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.moody || this.#dice.once(2)) return false;
    this.load(from.subarray(at, at + lengthBytes), offset);
    return true;
  }
}

function offer(dice: Dice): KeyValue[] {
  const maybe = (yes: string, no: string): string => (dice.once(2) ? yes : no);
  return [
    ['InitialR2T', maybe('Yes', 'No')],
    ['ImmediateData', maybe('Yes', 'No')],
    ['MaxRecvDataSegmentLength', String(dice.pick([512, 1000, 3000, 4096, 8192, 262_144]))],
    ['MaxBurstLength', String(dice.pick([512, 1536, 4096, 16_384, 262_144]))],
    ['FirstBurstLength', String(dice.pick([512, 1024, 3000, 65_536]))],
    ['MaxOutstandingR2T', String(1 + dice.roll(4))],
    ['HeaderDigest', maybe('CRC32C', 'None')],
    ['DataDigest', maybe('CRC32C', 'None')],
  ];
}

/** Counters close to where they wrap, in half of the sessions. */
const counter = (dice: Dice): number => (dice.once(2) ? 2 ** 32 - 1 - dice.roll(300) : 1);

/** Who logs in, and what makes the disk go on meanwhile. */
export type LoginBy = {
  readonly name?: string;
  readonly isid?: string;
  readonly pump?: () => Promise<void>;
};

/** Logs in with options that the dice choose; what a player needs of it. */
export async function login(i: TestInitiator, dice: Dice, by: LoginBy = {}) {
  const keys = offer(dice);
  i.cmdSn = counter(dice);
  const names: KeyValue[] = [
    ['InitiatorName', by.name ?? 'iqn.2026-11.test:schedule'],
    ['TargetName', TEST_TARGET],
  ];
  const request = i.loginRequest([...names, ...keys], {
    expStatSn: counter(dice),
    ...(by.isid === undefined ? {} : { isid: by.isid }),
  });
  i.send(pdus.encodeLoginRequest(request));
  while (by.pump !== undefined && i.received.length === 0) await by.pump();
  const response = pdus.decodeLoginResponse(await i.next());
  assert.equal(response.status, 0);
  const said = new Map([...keys, ...decodeText(response.data)]);
  const yes = (key: string, value = 'Yes'): boolean => said.get(key) === value;
  i.digests = { header: yes('HeaderDigest', 'CRC32C'), data: yes('DataDigest', 'CRC32C') };
  const maxBurstBytes = Number(said.get('MaxBurstLength'));
  const agreed: Agreed = {
    immediateData: yes('ImmediateData'),
    initialR2t: yes('InitialR2T'),
    maxBurstBytes,
    firstBurstBytes: Math.min(Number(said.get('FirstBurstLength')), maxBurstBytes),
  };
  // The unit attention of a new nexus.
  const ready = i.commandPdu([0, 0, 0, 0, 0, 0]);
  i.cmdSn = i.cmdSn >>> 0;
  i.send(pdus.encodeScsiCommand(ready));
  const { statSn, maxCmdSn, status } = pdus.decodeScsiResponse(await i.next());
  assert.equal(status, 2);
  return { dice, agreed, statSn: (statSn + 1) >>> 0, maxCmdSn };
}
