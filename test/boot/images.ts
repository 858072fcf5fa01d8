import { access, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { run } from '../lab/process.ts';
import type { DebianRoot } from './debian.ts';

const ASM = join(import.meta.dirname, 'asm');

/** Assembles a source of `test/boot/asm/` to a file in `folder`; returns its path. */
export async function assemble(folder: string, source: string): Promise<string> {
  const file = join(folder, source.replace(/\.asm$/, '.bin'));
  await run('nasm', ['-f', 'bin', '-I', `${ASM}/`, '-o', file, join(ASM, source)]);
  return file;
}

/** What the UEFI disk prints on the serial line when it was started. */
export const UEFI_DISK_SAYS = 'UEFI DISK READY';

/**
 * A disk with nothing but an EFI system partition whose loader (GRUB with its words built in)
 * prints a line: a UEFI boot to its end in a second instead of the half minute of a Linux.
 */
export async function uefiDisk(folder: string): Promise<string> {
  const disk = join(folder, 'uefi.img');
  const words = join(folder, 'uefi.cfg');
  const loader = join(folder, 'bootx64.efi');
  await writeFile(words, `echo ${UEFI_DISK_SAYS}\nsleep 600\n`);
  const modules = ['normal', 'echo', 'sleep'];
  const target = ['-O', 'x86_64-efi', '-o', loader, '-p', '/', '-c', words];
  await run('grub-mkimage', [...target, ...modules]);
  await run('truncate', ['-s', '40M', disk]);
  await run('sgdisk', ['-o', '-n', '1:2048:0', '-t', '1:EF00', disk]);
  // mtools takes a partition as image@@offset.
  const partition = `${disk}@@${2048 * 512}`;
  await run('mformat', ['-i', partition, '-T', String(38 * 2048), '-h', '16', '-s', '63', '::']);
  await run('mmd', ['-i', partition, '::/EFI', '::/EFI/BOOT']);
  await run('mcopy', ['-i', partition, loader, '::/EFI/BOOT/BOOTX64.EFI']);
  return disk;
}

/**
 * A private copy of the Debian image of the test run. The image itself is built once by
 * `polyboot image build` and kept in `~/.cache/polyboot/test-images`; `POLYBOOT_TEST_DEBIAN` names
 * another one.
 */
export async function debianDisk(folder: string, name = 'debian'): Promise<string> {
  const copy = join(folder, `${name}.img`);
  const image = await debianImage();
  // The clone shares its blocks where the file system can, and stays sparse where it cannot.
  await run('cp', ['--reflink=auto', '--sparse=always', image, copy]);
  return copy;
}

/** The Debian image of the test run itself, for guests that keep what they write elsewhere. */
export async function debianImage(): Promise<string> {
  return process.env['POLYBOOT_TEST_DEBIAN'] ?? (await builtDebian());
}

async function builtDebian(): Promise<string> {
  const cache = join(homedir(), '.cache/polyboot/test-images');
  await mkdir(cache, { recursive: true });
  const builder = join(import.meta.dirname, 'build-debian.ts');
  // Test files run beside each other; the second one waits for the first one's image.
  const lock = join(cache, 'lock');
  const printed = await run('flock', [lock, process.execPath, builder, cache]);
  const image = printed.trim().split('\n').at(-1) ?? '';
  await access(image);
  return image;
}

/** The kernel and initrd inside a Debian image, as files, and the UUID of its root. */
export async function kernelOf(
  folder: string,
  root: DebianRoot,
): Promise<{ kernel: string; initrd: string; uuid: string }> {
  const kernel = join(folder, 'vmlinuz');
  const initrd = join(folder, 'initrd.img');
  const boot = (await root.list('/boot')).filter((name) => !name.endsWith('.old'));
  for (const [start, file] of [
    ['vmlinuz-', kernel],
    ['initrd.img-', initrd],
  ] as const) {
    const name = boot.find((n) => n.startsWith(start));
    if (name === undefined) throw new Error(`no ${start}* in the image: ${boot.join(' ')}`);
    await root.dump(`/boot/${name}`, file);
  }
  return { kernel, initrd, uuid: await root.uuid() };
}

/** What the ISO shows on the screen when it was started. */
export const ISO_SAYS = 'ISO BOOT READY';

/** A small bootable ISO: isolinux, which says its word and waits. */
export async function helloIso(folder: string): Promise<string> {
  const tree = join(folder, 'iso');
  const iso = join(folder, 'hello.iso');
  await mkdir(join(tree, 'isolinux'), { recursive: true });
  await copyFile('/usr/lib/ISOLINUX/isolinux.bin', join(tree, 'isolinux/isolinux.bin'));
  await copyFile('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(tree, 'isolinux/ldlinux.c32'));
  const words = `SAY ${ISO_SAYS}\nPROMPT 1\nTIMEOUT 0\nDEFAULT none\n`;
  await writeFile(join(tree, 'isolinux/isolinux.cfg'), words);
  const made = ['-as', 'mkisofs', '-quiet', '-o', iso];
  const boot = ['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat', '-no-emul-boot'];
  const load = ['-boot-load-size', '4', '-boot-info-table'];
  await run('xorriso', [...made, ...boot, ...load, tree]);
  return iso;
}
