import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { closeSync, fchmodSync, ftruncateSync, mkdtempSync, openSync } from 'node:fs';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EnvironmentError, formatBytes, UserError } from '#base/mod.ts';
import { formatFat, GPT_TYPE, gptLastUsableLba, SECTOR_BYTES } from '#disk/mod.ts';
import { sliceIo, writeGpt } from '#disk/mod.ts';
import { DiskFile } from '../disk-file.ts';
import type { ImageWork } from '../image.ts';
import { tarOf } from '../tar.ts';
import { runTool } from '../tool.ts';
import { buildMode } from './build-mode.ts';
import { debLines, hostSources } from './apt-sources.ts';
import { type DebianBase, debianBase } from './debian-base.ts';
import { planDebian } from './debian-options.ts';
import type { BuildRequest, DebianData, DebianPlan } from './debian-options.ts';
import { type GrubFiles, makeGrub } from './grub.ts';
import type { BuildContext, Built, Recipe } from './recipe.ts';
import { CUSTOMISE_SCRIPT, rootFiles } from './root-files.ts';

const MIB = 2 ** 20;
const SECTORS_PER_MIB = MIB / SECTOR_BYTES;
const DEFAULT_SIZE_BYTES = 1024 * MIB;
/** Room for logs, a new kernel beside the old one, and the owner's first files. */
const SPARE_BYTES = 256 * MIB;
const ROUND_BYTES = 64 * MIB;

/** GRUB's core.img: 1 MiB, far more than it needs. */
const BIOS_LBA = SECTORS_PER_MIB;
const ESP_LBA = 2 * SECTORS_PER_MIB;
/** The smallest round size that can be FAT32 (65,525 clusters of 512 bytes), which UEFI wants. */
const ESP_SECTORS = 48 * SECTORS_PER_MIB;
const ROOT_LBA = ESP_LBA + ESP_SECTORS;
/** ext4 blocks are 4 KiB. */
const BLOCK_SECTORS = 8;

/** The recipe of Debian or a relative of it, as its data says. */
export function debianRecipe(data: DebianData): Recipe {
  return {
    name: data.name,
    releases: data.releases,
    build: (request, context, work) => {
      const plan = planDebian(data, request, context.name);
      return buildDebian(plan, request, context, work);
    },
  };
}

/**
 * Builds a system that boots from BIOS and UEFI, over iSCSI or from a local disk, into an empty
 * file: packages by mmdebstrap (kept for the next build), root by `mke2fs -d`, tables, ESP and GRUB
 * by us. No loop device, no mount of the image, root or not.
 */
async function buildDebian(
  plan: DebianPlan,
  request: BuildRequest,
  context: BuildContext,
  work: ImageWork,
): Promise<Built> {
  const lines = request.mirror ?? debLines(hostSources(), plan.release);
  const { cacheFolder, clock } = context;
  const nowMs = clock.wallMs();
  const baseOptions = { cacheFolder, nowMs, refresh: request.refresh === true };
  const base = await debianBase(plan, lines, baseOptions, work);
  const sizeBytes = imageSize(plan, base, context.freeBytes);
  ftruncateSync(context.fd, sizeBytes);
  // Unique, so that two images on one machine cannot be taken for each other.
  const label = `pb-${randomBytes(4).toString('hex')}`;
  const layout = layoutOf(sizeBytes);
  work.progress?.({ phase: 'root', line: 'making the root file system' });
  await makeRoot(plan, base, label, layout, context, work);
  work.progress?.({ phase: 'loader', line: 'making the boot loader' });
  const grub = await makeGrub(label, BIOS_LBA, ESP_LBA - BIOS_LBA, work.signal);
  writeTables(context, layout, grub, nowMs);
  const reused = base.reused ? 'reused' : 'new';
  context.log.info({ image: context.name, base: base.hash, reused }, 'image built');
  const source = `recipe ${plan.data.name} ${plan.release}, kernel ${plan.kernelName}`;
  return { sizeBytes, source };
}

type RootLayout = { readonly sizeBytes: number; readonly rootSectors: number };

function layoutOf(sizeBytes: number): RootLayout {
  const last = gptLastUsableLba(sizeBytes / SECTOR_BYTES);
  const rootSectors = Math.floor((last + 1 - ROOT_LBA) / BLOCK_SECTORS) * BLOCK_SECTORS;
  return { sizeBytes, rootSectors };
}

/** The size asked for, or 1 GiB, or what the packages need. An archive is a fair upper bound. */
function imageSize(plan: DebianPlan, base: DebianBase, freeBytes: number): number {
  const { size } = statSync(base.path);
  const needed = roundUp(size + ROOT_LBA * SECTOR_BYTES + SPARE_BYTES);
  if (size > freeBytes) {
    throw new EnvironmentError('no-space', {
      what: 'no space for the image',
      why: `it needs about ${formatBytes(size)}, and ${formatBytes(freeBytes)} are left`,
      todo: 'remove images that are not needed, or use a folder on a larger disk',
    });
  }
  if (plan.sizeBytes === undefined) return Math.max(DEFAULT_SIZE_BYTES, needed);
  const sizeBytes = Math.ceil(plan.sizeBytes / MIB) * MIB;
  if (sizeBytes < size) throw tooSmall(plan.sizeBytes, needed);
  return sizeBytes;
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ROUND_BYTES) * ROUND_BYTES;
}

function tooSmall(sizeBytes: number, needed: number): UserError {
  return new UserError('invalid', 'disk-size', {
    what: `${formatBytes(sizeBytes)} are too few for this system`,
    why: `its packages need about ${formatBytes(needed)}`,
    todo: 'choose a larger size, or leave it out',
  });
}

async function makeRoot(
  plan: DebianPlan,
  base: DebianBase,
  label: string,
  layout: RootLayout,
  context: BuildContext,
  work: ImageWork,
): Promise<void> {
  const unprivileged = buildMode() === 'unshare';
  const baseFd = openSync(base.path, 'r');
  const overlayFd = overlayFile(tarOf(rootFiles(plan, label), context.clock.wallMs()));
  const sizeKib = layout.rootSectors / 2;
  let neededKib: number | undefined;
  try {
    // In a user namespace we are somebody else, who may open the image only if all may. The file's
    // folder stays closed, or the file is not named yet.
    if (unprivileged) fchmodSync(context.fd, 0o666);
    const shell = ['sh', '-c', CUSTOMISE_SCRIPT];
    const helper = ['mmdebstrap', '--unshare-helper', ...shell];
    const [command = 'sh', ...args] = unprivileged ? helper : shell;
    await runTool({
      command,
      args,
      debianPackage: 'mmdebstrap uidmap e2fsprogs',
      env: {
        LABEL: label,
        FS_UUID: randomUUID(),
        OFFSET: String(ROOT_LBA * SECTOR_BYTES),
        SIZE_KIB: String(sizeKib),
      },
      fds: [context.fd, baseFd, overlayFd],
      ...(work.signal === undefined ? {} : { signal: work.signal }),
      line: (line) => {
        const used = /^POLYBOOT-NEEDS (\d+)$/.exec(line)?.[1];
        if (used === undefined) work.progress?.({ phase: 'root', line });
        else neededKib = Number(used);
      },
    });
  } catch (e) {
    if (neededKib === undefined) throw e;
    const needed = roundUp(neededKib * 1024 + ROOT_LBA * SECTOR_BYTES + SPARE_BYTES);
    throw tooSmall(layout.sizeBytes, needed);
  } finally {
    closeSync(baseFd);
    closeSync(overlayFd);
    if (unprivileged) fchmodSync(context.fd, 0o600);
  }
}

/** An open file with these bytes and no name: it holds passwords, and goes when we do. */
function overlayFile(bytes: Uint8Array): number {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-overlay-'));
  const path = join(folder, 'overlay.tar');
  try {
    writeFileSync(path, bytes, { mode: 0o600, flag: 'wx' });
    return openSync(path, 'r');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeTables(
  context: BuildContext,
  layout: RootLayout,
  grub: GrubFiles,
  timeMs: number,
): void {
  const io = DiskFile.of(context.fd);
  const { rootSectors } = layout;
  writeGpt(io, {
    bootCode: grub.bootCode,
    partitions: [
      partition(GPT_TYPE.biosBoot, BIOS_LBA, ESP_LBA - BIOS_LBA, 'bios'),
      partition(GPT_TYPE.esp, ESP_LBA, ESP_SECTORS, 'esp'),
      partition(GPT_TYPE.linuxRootX64, ROOT_LBA, rootSectors, 'root'),
    ],
  });
  io.write(BIOS_LBA * SECTOR_BYTES, grub.core);
  formatFat(sliceIo(io, ESP_LBA * SECTOR_BYTES, ESP_SECTORS * SECTOR_BYTES), {
    bits: 32,
    hiddenSectors: ESP_LBA,
    heads: 255,
    sectorsPerTrack: 63,
    label: 'ESP',
    serial: randomInt(1, 2 ** 32),
    timeMs,
    files: [{ path: 'EFI/BOOT/BOOTX64.EFI', bytes: grub.efi }],
    zeroed: true,
  });
}

function partition(
  typeGuid: string,
  firstLba: number,
  sectors: number,
  name: string,
): { typeGuid: string; firstLba: number; lastLba: number; name: string } {
  return { typeGuid, firstLba, lastLba: firstLba + sectors - 1, name };
}
