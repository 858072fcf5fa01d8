import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { silentLog } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import { NO_DIGESTS, Stage, encodeLoginRequest, framePdu } from '#iscsi/pdu/mod.ts';
import { encodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { DataPlane } from '../../src/app/data-plane.ts';
import { freePort } from '../lab/free-port.ts';
import { RawInitiator, USUAL_KEYS, loginRequest } from './raw-initiator.ts';
import type { LoginAnswer } from './raw-initiator.ts';

/** Connections land on a thread by chance, and must go to the one that has their disk. */
const THREADS = 3;
const MACHINES = ['a', 'b', 'c', 'd'];
const DISK_BYTES = 1024 * 1024;

type Site = { readonly plane: DataPlane; readonly dial: () => Promise<RawInitiator> };

async function site(t: TestContext): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-handover-'));
  const port = await freePort();
  const plane = await DataPlane.start({
    portals: [{ address: '127.0.0.1', port }],
    threads: THREADS,
    observer: { event: () => {} },
    log: silentLog,
    logLevel: 'silent',
    stateFolder: join(folder, 'units'),
    onDeath: (error) => {
      throw error;
    },
  });
  const peers: RawInitiator[] = [];
  t.after(async () => {
    for (const peer of peers) peer.socket.destroy();
    await plane.stop();
    rmSync(folder, { recursive: true });
  });
  const drives = MACHINES.map((machine): DriveExport => {
    const path = join(folder, `${machine}.img`);
    writeFileSync(path, machine.repeat(512));
    truncateSync(path, DISK_BYTES);
    return {
      config: { iqn: `iqn.2026-11.test:${machine}`, access: 'any', takeover: false },
      machine,
      image: machine,
      source: { kind: 'raw', path },
      readOnly: false,
      volatile: false,
      cdrom: false,
      serial: machine,
    };
  });
  assert.deepEqual(await plane.sync(drives), []);
  const dial = async (): Promise<RawInitiator> => {
    const peer = await RawInitiator.open({ port });
    peers.push(peer);
    return peer;
  };
  return { plane, dial };
}

function namesOf(machine: string, n: number): readonly KeyValue[] {
  return [
    ['InitiatorName', `iqn.2026-11.test:initiator-${n}`],
    ['TargetName', `iqn.2026-11.test:${machine}`],
  ];
}

/** It is in, and on its own disk. */
async function onItsDisk(peer: RawInitiator, answer: LoginAnswer, machine: string): Promise<void> {
  assert.deepEqual([answer.status, answer.nextStage], [0, Stage.FULL_FEATURE], machine);
  await peer.settle();
  assert.equal((await peer.read(0, 1)).toString('latin1'), machine.repeat(512));
}

/** Every machine often enough that its connections meet every thread. */
async function each(act: (machine: string, n: number) => Promise<void>): Promise<void> {
  for (let n = 0; n < 40; n++) await act(MACHINES[n % MACHINES.length] ?? 'a', n);
}

test('hostile case 22: between threads: a login in two stages, and one byte by byte', async (t) => {
  const { dial, plane } = await site(t);
  await each(async (machine, n) => {
    const peer = await dial();
    const security = { currentStage: Stage.SECURITY, nextStage: Stage.OPERATIONAL };
    const first = await peer.loginStep([...namesOf(machine, n), ['AuthMethod', 'None']], security);
    assert.equal(first.transit, true);
    await onItsDisk(peer, await peer.loginStep(USUAL_KEYS), machine);
    peer.cut();
  });
  await each(async (machine, n) => {
    const peer = await dial();
    const text = [...namesOf(machine, n), ...USUAL_KEYS];
    for (const byte of framePdu(encodeLoginRequest(loginRequest(text)), NO_DIGESTS)) {
      peer.sendBytes(Uint8Array.of(byte));
    }
    const answer = await peer.answer();
    await onItsDisk(peer, answer, machine);
    peer.cut();
  });
  const { counters } = await plane.stats();
  assert.ok(counters['connections-handed-over'] > 0);
});

test('hostile case 22: between threads: names cut over two login requests', async (t) => {
  const { dial } = await site(t);
  await each(async (machine, n) => {
    const peer = await dial();
    const whole = encodeText([...namesOf(machine, n), ...USUAL_KEYS]);
    const cut = 10 + n;
    const part = { data: whole.slice(0, cut), more: true, transit: false };
    assert.equal((await peer.loginStep([], part)).status, 0);
    await onItsDisk(peer, await peer.loginStep([], { data: whole.slice(cut) }), machine);
    peer.cut();
  });
});

test('hostile case 22: between threads: peers that hang up on the way leave nothing', async (t) => {
  const { dial, plane } = await site(t);
  await each(async (machine, n) => {
    const burst = Array.from({ length: 10 }, async (_, k) => {
      const peer = await dial();
      const text = [...namesOf(machine, n * 10 + k), ...USUAL_KEYS];
      peer.sendBytes(framePdu(encodeLoginRequest(loginRequest(text)), NO_DIGESTS));
      if (k % 2 === 0) peer.cut();
      else peer.socket.end();
    });
    await Promise.all(burst);
  });
  for (;;) {
    const { sessions, halfOpen } = await plane.stats();
    if (sessions.length === 0 && halfOpen === 0) break;
  }
  const peer = await dial();
  await onItsDisk(peer, await peer.loginStep([...namesOf('c', 999), ...USUAL_KEYS]), 'c');
});
