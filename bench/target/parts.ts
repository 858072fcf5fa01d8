/** What the rows of bench/target.ts share: contenders, load, and looks into /proc. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { Running, run } from '../../test/lab/process.ts';
import { runLoads } from '../iscsi/load-job.ts';
import type { Endpoint, LoadJob } from '../iscsi/load-job.ts';
import type { Look, Ready, ServerJob } from './server.ts';

export const KIB = 1024;
export const MIB = 1024 * 1024;
const TGT_PORT = 13_994;
/** The generator's session names repeat beyond this many in one process. */
const SESSIONS_PER_PROCESS = 64;

export type Contender = {
  readonly name: string;
  readonly pid: number;
  readonly endpoint: Endpoint;
};

/** What every row gets. */
export type Bench = {
  readonly rounds: number;
  readonly seconds: number;
  /** A folder in memory, and one on a disk. */
  readonly folder: string;
  readonly diskFolder: string;
  /** Things to end or remove when the row is over, last first. */
  readonly after: (() => Promise<unknown>)[];
  readonly say: (line: string) => void;
};

/** A file of random bytes. */
export async function makeFile(path: string, lengthBytes: number): Promise<void> {
  const file = await open(path, 'w');
  const piece = Buffer.alloc(16 * MIB);
  randomFillSync(piece);
  for (let at = 0; at < lengthBytes; at += piece.length) {
    piece.writeUInt32LE(at / piece.length);
    await file.write(piece, 0, Math.min(piece.length, lengthBytes - at), at);
  }
  await file.sync();
  await file.close();
}

/** Takes a file out of the page cache. */
export async function dropCache(path: string): Promise<void> {
  await run('dd', [`if=${path}`, 'iflag=nocache', 'count=0']);
}

/** Resident memory of a process, MiB. */
export async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / KIB;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** `polyboot export FILE`, as its user starts it. */
export async function startOurs(bench: Bench, path: string): Promise<Contender> {
  const main = new URL('../../src/main.ts', import.meta.url).pathname;
  const command = ['export', path, '--listen', '127.0.0.1', '--port', '0'];
  const ours = new Running(process.execPath, [main, ...command]);
  bench.after.push(() => ours.stop());
  const found = await ours.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(\S+)\/0\n/);
  const [, port = '', iqn = ''] = found;
  const endpoint = { address: '127.0.0.1', port: Number(port), iqn, lun: 0 };
  return { name: 'ours', pid: ours.pid, endpoint };
}

/** tgtd, with its settings tuned as a careful owner would. */
export async function startPeer(bench: Bench, path: string): Promise<Contender> {
  const { startTgt } = await import('../iscsi/tgt.ts');
  const tgt = await startTgt(path, TGT_PORT);
  bench.after.push(() => tgt.stop());
  return { name: 'tgt', pid: tgt.process.pid, endpoint: tgt.targets.tuned };
}

/** A process of this folder that writes lines, stopped when the row is over. */
export function helper(bench: Bench, script: string, job: unknown): Running {
  const path = new URL(script, import.meta.url).pathname;
  const running = new Running(process.execPath, [path, JSON.stringify(job)]);
  bench.after.push(() => running.stop('SIGKILL'));
  return running;
}

/** Runs a load to its end and returns operations per second; throws when commands failed. */
export async function load(job: LoadJob): Promise<{ perSecond: number; total: number }> {
  // Two generators feed any target; more are only for more sessions than one can name.
  const wanted = Math.max(Math.ceil(job.sessions / SESSIONS_PER_PROCESS), job.sessions > 1 ? 2 : 1);
  const { perSecond, total, failures } = await runLoads(job, wanted);
  if (failures > job.sessions * 2) throw new Error('commands failed');
  return { perSecond, total };
}

/** A target that tells how late its event loop is. */
export type Watched = {
  readonly pid: number;
  readonly endpoints: readonly Endpoint[];
  reset(): Promise<void>;
  look(): Promise<Look>;
};

/** Starts bench/target/server.ts. */
export async function startWatched(bench: Bench, job: ServerJob): Promise<Watched> {
  const path = new URL('server.ts', import.meta.url).pathname;
  const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
  const child: ChildProcess = fork(path, [JSON.stringify(job)], { env });
  bench.after.push(async () => {
    const ended = once(child, 'exit');
    child.disconnect();
    const kill = setTimeout(() => child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(kill);
  });
  const [ready] = (await once(child, 'message')) as [Ready];
  const ask = async (word: string): Promise<unknown> => {
    const answer = once(child, 'message');
    child.send(word);
    return (await answer)[0];
  };
  return {
    pid: child.pid ?? -1,
    endpoints: ready.iqns.map((iqn) => ({ address: '127.0.0.1', port: ready.port, iqn, lun: 0 })),
    reset: async () => {
      await ask('reset');
    },
    look: async () => (await ask('look')) as Look,
  };
}
