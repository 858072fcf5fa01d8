/**
 * @table iPXE's binaries as data: who can start which, and what scripts may ask of them. Order is
 * preference: for one architecture the first that is present is given, the next is the alternative.
 * `snponly` before `ipxe` on UEFI: it uses the firmware's own driver and hangs on fewer machines at
 * "initialising devices".
 */

/** Commands of iPXE that some builds lack. */
export type IpxeCommand = (typeof LACKING_SINCE_2019)[number];

/**
 * What Debian's build of 2019 does not know, BIOS and UEFI alike: each was run with `--help` and
 * answered "command not found" (2e022001). Generated scripts use none of them, so they run on every
 * build since; a test holds this.
 */
export const LACKING_SINCE_2019 = [
  'params',
  'param',
  'console',
  'colour',
  'cpair',
  'vcreate',
  'vdestroy',
  'imgtrust',
  'imgverify',
  'imgextract',
  'imgmem',
  'imgdecrypt',
  'certstat',
  'ntp',
  'nslookup',
  'ping',
  'nstat',
  'ipstat',
  'fcstat',
  'pciscan',
  'usbscan',
  'poweroff',
  'time',
  'profstat',
  'gdbstub',
  'lotest',
  'shim',
] as const;

/** One loader file. */
export type LoaderFact = {
  readonly file: string;
  readonly firmware: 'bios' | 'uefi';
  /** Option 93 values that can start it (IANA's processor architecture types). */
  readonly archs: readonly number[];
  /** For people. */
  readonly forWhom: string;
  /** Without it common machines cannot boot at all. */
  readonly essential: boolean;
  /** What the oldest build in use lacks. */
  readonly lacks: readonly IpxeCommand[];
};

/** BIOS over UNDI or PXE: 0; and 20, BIOS by HTTP. */
const BIOS = [0, 20] as const;
/** UEFI x64: 7, 8 and 9 are mixed up by RFC 4578's erratum; 16 = x64 HTTP Boot, 17 = EBC HTTP. */
const X64 = [7, 8, 9, 16, 17] as const;
/** 6 and 15: IA32 and its HTTP Boot; some 64-bit firmware says 15 (boot facts 5). */
const IA32 = [6, 15] as const;
/** 11 and 19: ARM64 and its HTTP Boot. */
const ARM64 = [11, 19] as const;

/** Every loader that is looked for. */
export const LOADERS: readonly LoaderFact[] = [
  {
    file: 'undionly.kpxe',
    firmware: 'bios',
    archs: BIOS,
    forWhom: 'PCs with a BIOS, any network card with a PXE ROM',
    essential: true,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'ipxe.pxe',
    firmware: 'bios',
    archs: BIOS,
    forWhom: 'PCs with a BIOS whose PXE ROM is broken: own drivers',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'snponly.efi',
    firmware: 'uefi',
    archs: X64,
    forWhom: '64-bit UEFI machines, by the driver of their firmware',
    essential: true,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'ipxe.efi',
    firmware: 'uefi',
    archs: X64,
    forWhom: '64-bit UEFI machines whose firmware driver is broken: own drivers',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'snponly-ia32.efi',
    firmware: 'uefi',
    archs: IA32,
    forWhom: '32-bit UEFI machines',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'ipxe-i386.efi',
    firmware: 'uefi',
    archs: IA32,
    forWhom: '32-bit UEFI machines',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'snponly-arm64.efi',
    firmware: 'uefi',
    archs: ARM64,
    forWhom: 'ARM64 machines, by the driver of their firmware',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
  {
    file: 'ipxe-arm64.efi',
    firmware: 'uefi',
    archs: ARM64,
    forWhom: 'ARM64 machines, with own drivers',
    essential: false,
    lacks: LACKING_SINCE_2019,
  },
];
