/**
 * Peers that are there and do harm, or nothing. One job per process:
 *
 *   node bench/target/crowd.ts '{"kind":"idle","port":3260,"iqn":"…","count":1000}'
 *
 * - `idle`: sessions that are logged in and only answer pings.
 * - `half-open`: connections from many addresses that never log in; one that the target cuts is
 *   opened again, `perSecond` of them at most.
 * - `deaf`: sessions that ask for data for ever and never read it.
 * - `storm`: connects and hangs up, `perSecond` times.
 *
 * Prints `ready` when all are where they want to be, and runs until it is killed.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { Opcode, RESERVED_TAG, decodeNopIn, encodeNopOut, opcodeOf } from '#iscsi/pdu/mod.ts';
import { RawInitiator, readWrite } from '../../test/hostile/raw-initiator.ts';

export type CrowdJob = {
  readonly kind: 'idle' | 'half-open' | 'deaf' | 'storm';
  readonly port: number;
  readonly iqn: string;
  readonly count: number;
  readonly perSecond: number;
};

/** Connections opened at a time. */
const BATCH = 50;
const DEAF_READ_BLOCKS = 2048;
const DEAF_COMMANDS = 256;

const job = JSON.parse(process.argv[2] ?? '{}') as CrowdJob;

/** 127.0.0.2 … 127.0.0.201: the flood comes from many hosts. */
const source = (n: number): string => `127.0.0.${2 + (n % 200)}`;

async function idle(n: number): Promise<void> {
  const session = await RawInitiator.open({ port: job.port });
  const initiator = `iqn.2026-11.org.polyboot:idle-${n}`;
  await session.login({ initiator, target: job.iqn });
  await session.settle();
  void answerPings(session);
}

async function answerPings(session: RawInitiator): Promise<void> {
  for (;;) {
    const pdu = await session.next();
    if (opcodeOf(pdu) !== Opcode.NOP_IN) continue;
    const { targetTransferTag } = decodeNopIn(pdu);
    const tags = { initiatorTaskTag: RESERVED_TAG, targetTransferTag };
    const rest = { lun: 0, cmdSn: session.cmdSn, expStatSn: 0, data: new Uint8Array() };
    session.send(encodeNopOut({ immediate: true, ...tags, ...rest }));
  }
}

async function deaf(n: number): Promise<void> {
  const session = await RawInitiator.open({ port: job.port });
  await session.login({ initiator: `iqn.2026-11.org.polyboot:deaf-${n}`, target: job.iqn });
  await session.settle();
  session.socket.pause();
  const expectedLengthBytes = DEAF_READ_BLOCKS * 512;
  for (let k = 0; k < DEAF_COMMANDS; k++) {
    session.issue(readWrite('read', 0, DEAF_READ_BLOCKS), { read: true, expectedLengthBytes });
  }
}

/** Opens without a word, and again whenever the target hangs up. */
async function halfOpen(n: number): Promise<void> {
  try {
    const peer = await RawInitiator.open({ port: job.port, from: source(n) });
    void peer.ended().then(() => peer.socket.destroy());
  } catch {
    // Refused: that is what it is there to see.
  }
}

async function storm(n: number): Promise<void> {
  try {
    (await RawInitiator.open({ port: job.port, from: source(n) })).cut();
  } catch {
    // The same.
  }
}

const act = { idle, deaf, 'half-open': halfOpen, storm }[job.kind];
for (let n = 0; n < job.count; n += BATCH) {
  await Promise.all(Array.from({ length: Math.min(BATCH, job.count - n) }, (_, k) => act(n + k)));
}
process.stdout.write('ready\n');
for (let n = 0; job.perSecond > 0; n += 10) {
  for (let k = 0; k < 10; k++) void act(n + k);
  await wait(10_000 / job.perSecond);
}
await new Promise(() => {
  setInterval(() => {}, 60_000);
});
