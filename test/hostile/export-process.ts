/** `polyboot export` in a process of its own, and what can be seen of it from outside. */
import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Running } from '../lab/process.ts';
import { RawInitiator } from './raw-initiator.ts';
import type { Dial, RawLogin } from './raw-initiator.ts';

const DISK_BYTES = 16 * 1024 * 1024;

export type ExportProcess = {
  readonly running: Running;
  readonly port: number;
  readonly iqn: string;
  /** The image. */
  readonly path: string;
  /** Open file descriptors, and resident memory in MiB. */
  readonly descriptors: () => number;
  readonly residentMib: () => number;
  dial(to?: Partial<Dial>): Promise<RawInitiator>;
  enter(login: RawLogin, to?: Partial<Dial>): Promise<RawInitiator>;
};

/** Starts it on a file of its own; it ends with the test. */
export async function exportProcess(t: TestContext, parent = tmpdir()): Promise<ExportProcess> {
  const folder = mkdtempSync(join(parent, 'polyboot-flood-'));
  const path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, DISK_BYTES);
  const main = new URL('../../src/main.ts', import.meta.url).pathname;
  const command = [main, 'export', path, '--listen', '127.0.0.1', '--port', '0'];
  const running = new Running(process.execPath, command);
  const peers: RawInitiator[] = [];
  t.after(async () => {
    for (const peer of peers) peer.socket.destroy();
    await running.stop();
    rmSync(folder, { recursive: true });
  });
  const [, port = '', iqn = ''] = await running.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(\S+)\/0\n/);
  const dial = async (to: Partial<Dial> = {}): Promise<RawInitiator> => {
    const peer = await RawInitiator.open({ port: Number(port), ...to });
    peers.push(peer);
    return peer;
  };
  return {
    running,
    port: Number(port),
    iqn,
    path,
    descriptors: () => readdirSync(`/proc/${running.pid}/fd`).length,
    residentMib: () => {
      const status = readFileSync(`/proc/${running.pid}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
    },
    dial,
    enter: async (login, to) => {
      const peer = await dial(to);
      await peer.login({ target: iqn, ...login });
      await peer.settle();
      return peer;
    },
  };
}

/** Does something `count` times, `atOnce` of them at a time. */
export async function crowd(
  count: number,
  atOnce: number,
  act: (n: number) => Promise<unknown>,
): Promise<void> {
  for (let n = 0; n < count; n += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, count - n) }, (_, k) => act(n + k)));
  }
}
