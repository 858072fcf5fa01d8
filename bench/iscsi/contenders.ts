/** Who races: our bare target and tgt with its settings, each on a file of its own. */
import { randomFillSync } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Running } from '../../test/lab/process.ts';
import type { Endpoint } from './load-job.ts';
import { startTgt } from './tgt.ts';

/** What every target serves. */
export const FILE_BYTES: number = 256 * 1024 * 1024;

/** Two benchmarks at once have different ones. */
const TGT_PORT: number = 20_000 + (process.pid % 10_000);
const PIECE_BYTES = 16 * 1024 * 1024;

export type Contender = {
  readonly name: string;
  readonly pid: number;
  readonly endpoint: Endpoint;
};

export type Field = {
  /** Ours, then the peers. */
  readonly plain: readonly Contender[];
  readonly digests: readonly Contender[];
  stop(): Promise<void>;
};

async function makeFile(path: string): Promise<void> {
  const file = await open(path, 'w');
  const piece = Buffer.alloc(PIECE_BYTES);
  for (let at = 0; at < FILE_BYTES; at += piece.length) {
    randomFillSync(piece);
    await file.write(piece, 0, piece.length, at);
  }
  await file.sync();
  await file.close();
}

/** Starts them all with files in `folder`. */
export async function startContenders(folder: string): Promise<Field> {
  const path = join(folder, `polyboot-bench-${process.pid}.raw`);
  const tgtPath = `${path}.tgt`;
  const ends: (() => Promise<unknown>)[] = [() => rm(path, { force: true })];
  ends.push(() => rm(tgtPath, { force: true }));
  const stop = async (): Promise<void> => {
    for (const end of ends.toReversed()) await end();
  };
  try {
    return { ...(await start(path, tgtPath, ends)), stop };
  } catch (e) {
    await stop();
    throw e;
  }
}

async function start(
  path: string,
  tgtPath: string,
  ends: (() => Promise<unknown>)[],
): Promise<Omit<Field, 'stop'>> {
  await makeFile(path);
  await makeFile(tgtPath);
  const script = new URL('../../test/interop/iscsi-export.ts', import.meta.url).pathname;
  const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
  const ours = new Running(process.execPath, [script, path], { env });
  ends.push(() => ours.stop());
  const tgt = await startTgt(tgtPath, TGT_PORT);
  ends.push(() => tgt.stop());
  const [, port = '', iqn = ''] = await ours.waitFor(/iscsi:\/\/127\.0\.0\.1:(\d+)\/(.*)\/0\n/);
  const endpoint: Endpoint = { address: '127.0.0.1', port: Number(port), iqn, lun: 0 };
  const us: Contender = { name: 'ours', pid: ours.pid, endpoint };
  const peer = (name: string, e: Endpoint): Contender => ({
    name: `tgt ${name}`,
    pid: tgt.process.pid,
    endpoint: e,
  });
  return {
    plain: [us, peer('default', tgt.targets.default), peer('tuned', tgt.targets.tuned)],
    digests: [us, peer('digests', tgt.targets.digests)],
  };
}
