/** What kind of boot firmware stands behind an architecture number. */
export type Firmware = 'bios' | 'uefi' | 'openfirmware' | 'uboot' | 'rpi' | 'other';

/** One row of IANA's "Processor Architecture Types" (option 93). */
export type Architecture = {
  readonly value: number;
  readonly name: string;
  readonly firmware: Firmware;
  /** As Debian and iPXE name it (`x86_64`, `i386`, `arm64` …). */
  readonly cpu: string;
  /** True when the client wants an HTTP URL (UEFI HTTP Boot). */
  readonly http: boolean;
};

function row(
  value: number,
  name: string,
  firmware: Firmware,
  cpu: string,
  http = false,
): Architecture {
  return { value, name, firmware, cpu, http };
}

/**
 * Boot facts 2. RFC 4578 printed 7 and 9 swapped (erratum 4624), and firmware followed either:
 * 7, 8 and 9 are all taken as x86-64 UEFI (8 is XScale on paper, and x86-64 in the field).
 */
const ROWS: readonly Architecture[] = [
  row(0, 'x86 BIOS', 'bios', 'i386'),
  row(1, 'NEC/PC98', 'other', 'i386'),
  row(2, 'Itanium UEFI', 'uefi', 'ia64'),
  row(3, 'DEC Alpha', 'other', 'alpha'),
  row(4, 'Arc x86', 'other', 'i386'),
  row(5, 'Intel Lean Client', 'other', 'i386'),
  row(6, 'x86 UEFI', 'uefi', 'i386'),
  row(7, 'x86-64 UEFI', 'uefi', 'x86_64'),
  row(8, 'x86-64 UEFI (8)', 'uefi', 'x86_64'),
  row(9, 'x86-64 UEFI (9)', 'uefi', 'x86_64'),
  row(10, 'ARM32 UEFI', 'uefi', 'arm32'),
  row(11, 'ARM64 UEFI', 'uefi', 'arm64'),
  row(12, 'PowerPC Open Firmware', 'openfirmware', 'powerpc'),
  row(13, 'PowerPC ePAPR', 'other', 'powerpc'),
  row(14, 'POWER OPAL v3', 'other', 'powerpc'),
  row(15, 'x86 UEFI HTTP', 'uefi', 'i386', true),
  row(16, 'x86-64 UEFI HTTP', 'uefi', 'x86_64', true),
  row(17, 'EBC UEFI HTTP', 'uefi', 'ebc', true),
  row(18, 'ARM32 UEFI HTTP', 'uefi', 'arm32', true),
  row(19, 'ARM64 UEFI HTTP', 'uefi', 'arm64', true),
  row(20, 'x86 BIOS HTTP', 'bios', 'i386', true),
  row(21, 'ARM32 U-Boot', 'uboot', 'arm32'),
  row(22, 'ARM64 U-Boot', 'uboot', 'arm64'),
  row(23, 'ARM32 U-Boot HTTP', 'uboot', 'arm32', true),
  row(24, 'ARM64 U-Boot HTTP', 'uboot', 'arm64', true),
  row(25, 'RISC-V 32 UEFI', 'uefi', 'riscv32'),
  row(26, 'RISC-V 32 UEFI HTTP', 'uefi', 'riscv32', true),
  row(27, 'RISC-V 64 UEFI', 'uefi', 'riscv64'),
  row(28, 'RISC-V 64 UEFI HTTP', 'uefi', 'riscv64', true),
  row(29, 'RISC-V 128 UEFI', 'uefi', 'riscv128'),
  row(30, 'RISC-V 128 UEFI HTTP', 'uefi', 'riscv128', true),
  row(31, 's390 basic', 'other', 's390x'),
  row(32, 's390 extended', 'other', 's390x'),
  row(33, 'MIPS32 UEFI', 'uefi', 'mips32'),
  row(34, 'MIPS64 UEFI', 'uefi', 'mips64'),
  row(35, 'Sunway 32 UEFI', 'uefi', 'sunway32'),
  row(36, 'Sunway 64 UEFI', 'uefi', 'sunway64'),
  row(37, 'LoongArch32 UEFI', 'uefi', 'loong32'),
  row(38, 'LoongArch32 UEFI HTTP', 'uefi', 'loong32', true),
  row(39, 'LoongArch64 UEFI', 'uefi', 'loong64'),
  row(40, 'LoongArch64 UEFI HTTP', 'uefi', 'loong64', true),
  row(41, 'Raspberry Pi boot', 'rpi', 'arm'),
];

const BY_VALUE: ReadonlyMap<number, Architecture> = new Map(ROWS.map((r) => [r.value, r]));

/** The row of an option 93 value, or undefined for a value that IANA does not list. */
export function architecture(value: number): Architecture | undefined {
  return BY_VALUE.get(value);
}

/**
 * Organisations whose network interfaces sit on a Raspberry Pi. Its boot ROM claims architecture 0
 * (x86 BIOS) and a plain PXEClient class, so the MAC address is what tells (boot facts 2).
 */
const RASPBERRY_PI_OUIS: ReadonlySet<string> = new Set([
  'b8:27:eb',
  'dc:a6:32',
  'e4:5f:01',
  '28:cd:c1',
  'd8:3a:dd',
  '2c:cf:67',
]);

/** True when the MAC address (lower-case with colons) belongs to a Raspberry Pi. */
export function isRaspberryPi(mac: string): boolean {
  return RASPBERRY_PI_OUIS.has(mac.slice(0, 8));
}
