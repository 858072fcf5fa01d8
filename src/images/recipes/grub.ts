import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EnvironmentError, errnoOf, InternalError } from '#base/mod.ts';
import { BOOT_CODE_BYTES, SECTOR_BYTES } from '#disk/mod.ts';
import { runTool } from '../tool.ts';

/** GRUB for one image: what goes to sector 0, to the BIOS boot partition, and to the ESP. */
export type GrubFiles = {
  readonly bootCode: Uint8Array;
  readonly core: Uint8Array;
  readonly efi: Uint8Array;
};

const BOOT_IMG = '/usr/lib/grub/i386-pc/boot.img';
const MODULES =
  'part_gpt part_msdos ext2 search search_label normal configfile linux echo serial terminal test ls cat minicmd reboot halt'.split(
    ' ',
  );

// Fields of boot.img (grub-core/boot/i386/pc/boot.S, stable since GRUB 1.9x).
/** u64: sector of core.img's first sector. */
const KERNEL_SECTOR_AT = 0x5c;
/** u8: drive; 0xff = the one the BIOS booted. */
const BOOT_DRIVE_AT = 0x64;
/** Two bytes of a jump that distrusts DL; NOPs = trust it (a hard disk, not a floppy). */
const DRIVE_CHECK_AT = 0x66;
// core.img's first sector (diskboot.S) ends in a list of blocks: u64 sector, u16 count, u16
// segment.
const BLOCK_LIST_AT = SECTOR_BYTES - 12;
/** Where diskboot.S loads the rest: 0x8200. */
const CORE_SEGMENT = 0x820;

/**
 * Makes GRUB for BIOS and UEFI that finds the file system `label` and reads its
 * /boot/grub/grub.cfg. `coreLba` is the first sector of the BIOS boot partition of `coreSectors` sectors. grub-install
 * is not used: it wants a mounted disk. Throws EnvironmentError `tool-missing`, `tool-failed`.
 */
export async function makeGrub(
  label: string,
  coreLba: number,
  coreSectors: number,
  signal?: AbortSignal,
): Promise<GrubFiles> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-grub-'));
  try {
    const config = join(folder, 'early.cfg');
    writeFileSync(config, earlyConfig(label));
    const make = async (format: string, more: readonly string[]): Promise<Uint8Array> => {
      const out = join(folder, format);
      await runTool({
        command: 'grub-mkimage',
        debianPackage: 'grub-common grub-pc-bin grub-efi-amd64-bin',
        args: ['-O', format, '-o', out, '-p', '/boot/grub', '-c', config, ...more, ...MODULES],
        ...(signal === undefined ? {} : { signal }),
      });
      return readFileSync(out);
    };
    const core = await make('i386-pc', ['biosdisk']);
    const efi = await make('x86_64-efi', ['fat']);
    return {
      bootCode: patchBoot(readBootImg(), coreLba),
      core: patchCore(core, coreLba, coreSectors),
      efi,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function earlyConfig(label: string): string {
  return `search --no-floppy --label ${label} --set root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
`;
}

function readBootImg(): Uint8Array {
  try {
    return readFileSync(BOOT_IMG);
  } catch (e) {
    if (errnoOf(e) !== 'ENOENT') throw e;
    throw new EnvironmentError('tool-missing', {
      what: `GRUB's boot sector ${BOOT_IMG} is not installed`,
      todo: 'apt-get install grub-pc-bin',
    });
  }
}

/** The first 440 bytes of boot.img, told where core.img is. */
export function patchBoot(bootImg: Uint8Array, coreLba: number): Uint8Array {
  if (bootImg.length !== SECTOR_BYTES) throw new InternalError('boot.img is not one sector');
  const out = bootImg.slice(0, BOOT_CODE_BYTES);
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  view.setBigUint64(KERNEL_SECTOR_AT, BigInt(coreLba), true);
  view.setUint8(BOOT_DRIVE_AT, 0xff);
  view.setUint16(DRIVE_CHECK_AT, 0x9090);
  return out;
}

/** core.img in whole sectors, its first told where the others are. */
export function patchCore(core: Uint8Array, coreLba: number, maxSectors: number): Uint8Array {
  const sectors = Math.ceil(core.length / SECTOR_BYTES);
  if (sectors > maxSectors) throw new InternalError(`core.img needs ${sectors} sectors`);
  const out = new Uint8Array(sectors * SECTOR_BYTES);
  out.set(core);
  const view = new DataView(out.buffer);
  view.setBigUint64(BLOCK_LIST_AT, BigInt(coreLba + 1), true);
  view.setUint16(BLOCK_LIST_AT + 8, sectors - 1, true);
  view.setUint16(BLOCK_LIST_AT + 10, CORE_SEGMENT, true);
  return out;
}
