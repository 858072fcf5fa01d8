/** tgt as the peer: one daemon on a private control port, several targets on the same file. */
import { Running, run } from '../../test/lab/process.ts';
import type { Endpoint } from './load-job.ts';

/** What an owner would set after reading the manual: large segments and bursts, less waiting. */
const TUNED: readonly (readonly [string, string])[] = [
  ['MaxRecvDataSegmentLength', '1048576'],
  ['MaxXmitDataSegmentLength', '262144'],
  ['FirstBurstLength', '1048576'],
  ['MaxBurstLength', '16776192'],
  ['InitialR2T', 'No'],
  ['MaxOutstandingR2T', '8'],
];
const DIGESTS: readonly (readonly [string, string])[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];
/** tgt's LUN 0 is its controller. */
const DISK_LUN = 1;
/** A number that names tgtd's control socket: other daemons of the host have other ones. */
const CONTROL_PORT: number = 20_000 + (process.pid % 10_000);

export type Tgt = {
  readonly process: Running;
  readonly targets: {
    readonly default: Endpoint;
    readonly tuned: Endpoint;
    readonly digests: Endpoint;
  };
  stop(): Promise<void>;
};

/** Starts tgtd with `file` behind three targets: default, tuned, tuned with digests. */
export async function startTgt(file: string, port: number): Promise<Tgt> {
  const control = ['-C', String(CONTROL_PORT)];
  const process = new Running('tgtd', ['-f', ...control, '--iscsi', `portal=127.0.0.1:${port}`]);
  await process.waitFor(/use (?:signalfd|eventfd|pthread)/i);
  const admin = (...args: string[]): Promise<string> =>
    run('tgtadm', [...control, '--lld', 'iscsi', ...args]);
  const add = async (
    tid: number,
    name: string,
    settings: readonly (readonly [string, string])[],
  ): Promise<Endpoint> => {
    const iqn = `iqn.2026-11.org.polyboot:tgt-${name}`;
    const target = ['--tid', String(tid)];
    await admin('--op', 'new', '--mode', 'target', ...target, '-T', iqn);
    const lun = ['--lun', String(DISK_LUN), '-b', file];
    await admin('--op', 'new', '--mode', 'logicalunit', ...target, ...lun);
    await admin('--op', 'bind', '--mode', 'target', ...target, '-I', 'ALL');
    for (const [key, value] of settings) {
      await admin('--op', 'update', '--mode', 'target', ...target, '-n', key, '-v', value);
    }
    return { address: '127.0.0.1', port, iqn, lun: DISK_LUN };
  };
  return {
    process,
    targets: {
      default: await add(1, 'default', []),
      tuned: await add(2, 'tuned', TUNED),
      digests: await add(3, 'digests', [...TUNED, ...DIGESTS]),
    },
    stop: async () => {
      await process.stop('SIGKILL');
    },
  };
}
