import { mbrBootCode, noSystemBootCode } from './boot-code.ts';
import type { IsoReport } from './iso.ts';
import type { Mbr } from './mbr.ts';
import { GPT_TYPE, MBR_TYPE } from './partition-types.ts';
import type { BootVerdict, FoundPartitions, PartitionReport } from './report.ts';
import { readSectors, SECTOR_BYTES, type SectorIo } from './sector-io.ts';

/** Whether a BIOS finds something to start. */
export function biosVerdict(io: SectorIo, mbr: Mbr, found: FoundPartitions): BootVerdict {
  if (!mbr.hasSignature) {
    return { bootable: false, why: 'sector 0 does not end in 55 AA (iPXE error 1d852039)' };
  }
  if (mbr.bootCode.every((b) => b === 0)) return { bootable: false, why: 'no boot code' };
  const grub = Buffer.from(mbr.bootCode).includes('GRUB');
  if (grub) return { bootable: true, why: 'GRUB in the boot record' };
  if (found.table !== 'mbr') return { bootable: true, why: 'boot code in sector 0' };
  const active = found.partitions.find((p) => p.scheme === 'mbr' && p.active);
  if (active === undefined) {
    const ours = Buffer.from(mbr.bootCode).indexOf(Buffer.from(mbrBootCode())) === 0;
    const why = ours ? 'no partition is active' : 'boot code, but no partition is active';
    return { bootable: !ours, why };
  }
  const at = active.startLba * SECTOR_BYTES;
  if (at + SECTOR_BYTES > io.sizeBytes) {
    return { bootable: false, why: `active partition ${active.number} lies beyond the disk` };
  }
  const sector = Buffer.from(readSectors(io, active.startLba, 1));
  if (sector.readUInt16BE(510) !== 0x55aa) {
    return { bootable: false, why: `active partition ${active.number} has no boot sector` };
  }
  if (sector.includes(Buffer.from(noSystemBootCode()))) {
    return { bootable: false, why: `partition ${active.number} holds no operating system yet` };
  }
  return { bootable: true, why: `boot code, and partition ${active.number} is active` };
}

/** Whether UEFI finds something to start by itself. */
export function uefiVerdict(
  loaders: readonly string[],
  partitions: readonly PartitionReport[],
): BootVerdict {
  const [first] = loaders;
  if (first !== undefined) return { bootable: true, why: `${loaders.join(', ')} found` };
  const esp = partitions.some((p) => isEsp(p));
  return {
    bootable: false,
    why: esp ? 'the EFI system partition has no \\EFI\\BOOT loader' : 'no EFI system partition',
  };
}

function isEsp(p: PartitionReport): boolean {
  return p.typeCode === GPT_TYPE.esp || p.typeCode === MBR_TYPE.esp.toString(16).toUpperCase();
}

/** Whether a CD image has an entry for the firmware. */
export function isoVerdict(iso: IsoReport, firmware: 'bios' | 'uefi'): BootVerdict {
  const bootable = iso.boots.includes(firmware);
  const why = bootable ? 'El Torito boot entry' : `no El Torito entry for ${firmware}`;
  return { bootable, why };
}
