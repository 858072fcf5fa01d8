/** Types of GPT partitions that we write or name. */
export const GPT_TYPE = {
  esp: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  biosBoot: '21686148-6449-6E6F-744E-656564454649',
  linux: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  linuxRootX64: '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709',
  microsoftData: 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7',
} as const;

const GPT_NAMES: ReadonlyMap<string, string> = new Map([
  [GPT_TYPE.esp, 'EFI system'],
  [GPT_TYPE.biosBoot, 'BIOS boot'],
  [GPT_TYPE.linux, 'Linux data'],
  [GPT_TYPE.linuxRootX64, 'Linux root (x86-64)'],
  [GPT_TYPE.microsoftData, 'Microsoft data'],
  ['E3C9E316-0B5C-4DB8-817D-F92DF00215AE', 'Microsoft reserved'],
  ['DE94BBA4-06D1-4D40-A16A-BFD50179D6AC', 'Windows recovery'],
  ['0657FD6D-A4AB-43C4-84E5-0933C84B4F4F', 'Linux swap'],
  ['E6D6D379-F507-44C2-A23C-238F2A3DF928', 'Linux LVM'],
  ['A19D880F-05FC-4D3B-A006-743F0F84911E', 'Linux RAID'],
  ['933AC7E1-2EB4-4F13-B844-0E14E2AEF915', 'Linux home'],
  ['BC13C2FF-59E6-4262-A352-B275FD6F7172', 'Linux extended boot'],
  ['516E7CB4-6ECF-11D6-8FF8-00022D09712B', 'FreeBSD data'],
  ['6A898CC3-1DD2-11B2-99A6-080020736631', 'ZFS'],
]);

/** Types of MBR partitions that we write or name. */
export const MBR_TYPE = {
  fat12: 0x01,
  fat16Small: 0x04,
  fat16: 0x06,
  fat32: 0x0b,
  fat32Lba: 0x0c,
  fat16Lba: 0x0e,
  protective: 0xee,
  esp: 0xef,
} as const;

const MBR_NAMES: ReadonlyMap<number, string> = new Map([
  [0x01, 'FAT12'],
  [0x04, 'FAT16 under 32 MiB'],
  [0x05, 'extended'],
  [0x06, 'FAT16'],
  [0x07, 'NTFS, exFAT or HPFS'],
  [0x0b, 'FAT32'],
  [0x0c, 'FAT32 LBA'],
  [0x0e, 'FAT16 LBA'],
  [0x0f, 'extended LBA'],
  [0x11, 'hidden FAT12'],
  [0x14, 'hidden FAT16 under 32 MiB'],
  [0x16, 'hidden FAT16'],
  [0x1b, 'hidden FAT32'],
  [0x1c, 'hidden FAT32 LBA'],
  [0x27, 'Windows recovery'],
  [0x82, 'Linux swap'],
  [0x83, 'Linux'],
  [0x85, 'Linux extended'],
  [0x8e, 'Linux LVM'],
  [0xa5, 'FreeBSD'],
  [0xa6, 'OpenBSD'],
  [0xa9, 'NetBSD'],
  [0xee, 'GPT protective'],
  [0xef, 'EFI system'],
  [0xfd, 'Linux RAID'],
]);

/** "FAT32 LBA", or "type 0x63" for one that we do not name. */
export function mbrTypeName(type: number): string {
  return MBR_NAMES.get(type) ?? `type 0x${type.toString(16).padStart(2, '0')}`;
}

/** "EFI system", or the GUID itself. */
export function gptTypeName(guid: string): string {
  return GPT_NAMES.get(guid) ?? guid;
}
