import { createHash, randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageWork } from '../image.ts';
import { runTool } from '../tool.ts';
import { buildMode } from './build-mode.ts';
import { basePackages, type DebianPlan } from './debian-options.ts';

/** An older base misses security updates; it is made anew. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000;
/** A partial file this old has no living writer. */
const STALE_MS = 24 * 3600 * 1000;

const PATH_RULES = [
  'path-exclude=/usr/share/doc/*',
  'path-include=/usr/share/doc/*/copyright',
  'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/share/info/*',
  'path-exclude=/usr/share/locale/*',
];

/** Lines of mmdebstrap that tell people nothing. */
const NOISE =
  /^I: (?:running --|using |finding |removing tempdir|chroot architecture|done$|success)/;

/** A base in the cache: an archive of the root file system without anything of one machine. */
export type DebianBase = { readonly path: string; readonly hash: string; readonly reused: boolean };

/** What decides the content of a base: everything that mmdebstrap is told. */
export function baseHash(plan: DebianPlan, debLines: readonly string[]): string {
  const content = JSON.stringify(bootstrapArguments(plan, debLines));
  return createHash('sha256').update(content).digest('hex').slice(0, 16);
}

/**
 * The base of a plan: from the cache when it is there and fresh, else made by mmdebstrap (about
 * half a minute). Throws EnvironmentError `tool-missing`, `tool-failed`.
 */
export async function debianBase(
  plan: DebianPlan,
  debLines: readonly string[],
  options: { cacheFolder: string; nowMs: number; refresh: boolean },
  work: ImageWork,
): Promise<DebianBase> {
  const { cacheFolder, nowMs } = options;
  mkdirSync(cacheFolder, { recursive: true });
  const hash = baseHash(plan, debLines);
  const path = join(cacheFolder, `${plan.data.name}-${hash}.tar`);
  sweep(cacheFolder, nowMs);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !options.refresh && nowMs - found.mtimeMs < MAX_AGE_MS) {
    work.progress?.({ phase: 'base', line: 'packages of an earlier build are reused' });
    return { path, hash, reused: true };
  }
  const partial = `${path.slice(0, -'.tar'.length)}.${randomBytes(4).toString('hex')}.partial`;
  // 0644: in a user namespace the reader is another user; nothing in it is secret.
  const fd = openSync(partial, 'wx', 0o644);
  try {
    await bootstrap(plan, debLines, fd, work);
    fsyncSync(fd);
    renameSync(partial, path);
  } catch (e) {
    rmSync(partial, { force: true });
    throw e;
  } finally {
    closeSync(fd);
  }
  return { path, hash, reused: false };
}

function sweep(folder: string, nowMs: number): void {
  for (const name of readdirSync(folder)) {
    if (!/^[a-z]+-[0-9a-f]{16}\.[0-9a-f]{8}\.partial$/.test(name)) continue;
    const file = join(folder, name);
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat !== undefined && nowMs - stat.mtimeMs > STALE_MS) rmSync(file, { force: true });
  }
}

async function bootstrap(
  plan: DebianPlan,
  debLines: readonly string[],
  stdoutFd: number,
  work: ImageWork,
): Promise<void> {
  await runTool({
    command: 'mmdebstrap',
    debianPackage: 'mmdebstrap uidmap',
    args: [`--mode=${buildMode()}`, ...bootstrapArguments(plan, debLines)],
    stdoutFd,
    ...(work.signal === undefined ? {} : { signal: work.signal }),
    line: (line) => {
      if (!NOISE.test(line)) work.progress?.({ phase: 'base', line: line.replace(/^I: /, '') });
    },
  });
}

function bootstrapArguments(plan: DebianPlan, debLines: readonly string[]): string[] {
  return [
    '--variant=minbase',
    '--format=tar',
    '--aptopt=Acquire::Languages "none"',
    ...PATH_RULES.map((r) => `--dpkgopt=${r}`),
    `--include=${basePackages(plan).join(',')}`,
    ...initramfsHooks(plan).map((h) => `--essential-hook=${h}`),
    // Keys and identities belong to one machine, not to a base that many are made from.
    '--customize-hook=rm -rf "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/*.bin',
    plan.release,
    '-',
    ...debLines,
  ];
}

/** Before the kernel is installed, so that its initramfs is made right the first time. */
function initramfsHooks(plan: DebianPlan): string[] {
  const { modules, modulesPolicy } = plan.kernel;
  const conf = '"$1"/etc/initramfs-tools/conf.d';
  return [
    `mkdir -p ${conf} "$1"/etc/iscsi`,
    `echo COMPRESS=zstd > ${conf}/polyboot-compress`,
    `echo MODULES=${modulesPolicy} > ${conf}/polyboot-modules`,
    `printf '%s\\n' ${modules.join(' ')} > "$1"/etc/initramfs-tools/modules`,
    // The device is not there to be probed; the type brings fsck.ext4, so that a root left dirty by
    // a power cut is mended before it is used.
    `echo FSTYPE=ext4 > ${conf}/polyboot-fstype`,
    'echo ISCSI_AUTO=true > "$1"/etc/iscsi/iscsi.initramfs; chmod 600 "$1"/etc/iscsi/iscsi.initramfs',
  ];
}
