import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createLog, EnvironmentError, messageOf, UserError, type Log } from '#base/mod.ts';
import { BasePool } from '#block/mod.ts';
import { TargetServer, type ChapCredentials } from '#iscsi/mod.ts';
import { IQN_PREFIX } from '#machines/mod.ts';
import { diskFileSource, type FileFormat } from './disk-file-source.ts';
import type { Terminal } from './output.ts';
import { serveDisk, type ServedDisk } from './served-disk.ts';

/** `polyboot export`: what the command line says. */
export type ExportOptions = {
  readonly file: string;
  readonly format?: FileFormat | undefined;
  readonly backing?: string | undefined;
  readonly backingFormat?: FileFormat | undefined;
  readonly port: number;
  readonly listen: string;
  readonly iqn?: string | undefined;
  readonly readOnly: boolean;
  readonly removable: boolean;
  readonly cdrom: boolean;
  readonly cache: 'writeback' | 'writethrough';
  readonly chapUser?: string | undefined;
  readonly chapSecretFile?: string | undefined;
  readonly digests: boolean;
  /** For reservations that last, saved mode pages and atomic writes. */
  readonly stateFolder?: string | undefined;
  readonly terminal: Terminal;
};

/**
 * A bare iSCSI target for one file or device: no state, LUN 0 is the disk, anybody may log in (with
 * CHAP: anybody who knows the secret). Prints its URL when ready; ends cleanly on SIGTERM. SIGHUP:
 * looks again how large the image is.
 */
export async function exportFile(options: ExportOptions): Promise<number> {
  const { terminal } = options;
  const source = diskFileSource({ ...options, ...(options.cdrom ? { blockBytes: 2048 } : {}) });
  const name = source.kind === 'nbd' ? source.url : source.path;
  const iqn = options.iqn ?? IQN_PREFIX + iqnSuffix(name);
  const chap = chapOf(options);
  const log = createLog('warn');
  const server = new TargetServer({
    log,
    ...(options.digests ? {} : { offer: { headerDigests: ['None'], dataDigests: ['None'] } }),
  });
  const disk = await serveDisk(server, new BasePool(), {
    config: { iqn, access: 'any', takeover: false, ...(chap === undefined ? {} : { chap }) },
    source,
    readOnly: options.readOnly,
    cdrom: options.cdrom,
    removable: options.removable,
    cache: options.cache,
    serial: name,
    ...(options.stateFolder === undefined ? {} : { stateFolder: options.stateFolder }),
  });
  const lookAgain = (): void => {
    rescan(disk, log);
  };
  try {
    const [at] = await server.listen([{ address: options.listen, port: options.port }]);
    const host = options.listen.includes(':') ? `[${options.listen}]` : options.listen;
    process.on('SIGHUP', lookAgain);
    const ended = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
    terminal.out(`iscsi://${host}:${at?.port ?? options.port}/${iqn}/0\n`);
    await ended;
  } finally {
    process.off('SIGHUP', lookAgain);
    await server.close();
    await disk.close();
  }
  return 0;
}

/** The image may have grown: initiators are told. */
function rescan({ unit }: ServedDisk, log: Log): void {
  unit.rescan((error) => {
    if (error === null) log.info({ blocks: unit.blocks }, 'looked again how large the image is');
    else log.error({ why: messageOf(error) }, 'cannot see how large the image is now');
  });
}

/** A file name as the part of an IQN behind the colon (RFC 3722: lower case, no underscore). */
function iqnSuffix(path: string): string {
  const name = basename(path)
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, '-');
  return name.replaceAll(/^-+|-+$/g, '') || 'disk';
}

function chapOf(options: ExportOptions): ChapCredentials | undefined {
  const { chapUser, chapSecretFile } = options;
  if (chapUser === undefined && chapSecretFile === undefined) return undefined;
  if (chapUser === undefined || chapSecretFile === undefined) {
    throw new UserError('invalid', 'chap', {
      what: 'CHAP needs both a user and a secret',
      todo: 'give --chap USER and --chap-secret-file FILE',
    });
  }
  try {
    const secret = readFileSync(chapSecretFile, 'utf8').replace(/\r?\n$/, '');
    return { user: chapUser, secret };
  } catch (e) {
    throw new EnvironmentError('chap-secret', {
      what: `cannot read the CHAP secret from ${chapSecretFile}`,
      why: messageOf(e),
    });
  }
}
