/** One drive that iPXE hooks, in the order 0x80, 0x81 … */
export type SanDrive = {
  /** Paths to the same disk (`iscsi:address::port:lun:iqn…`); the first that answers is used. */
  readonly uris: readonly string[];
};

/** CHAP credentials of one machine, as its iPXE must present them. */
export type ScriptChap = {
  readonly user: string;
  readonly secret: string;
  /** Both or none: iPXE then also checks the target (and refuses one that cannot prove itself). */
  readonly mutualUser?: string;
  readonly mutualSecret?: string;
};

/** What a machine boots after its drives are hooked. */
export type ScriptPlan =
  /** Boot drive 0x80; `efiFile` names the loader on UEFI when it is not `\EFI\BOOT\BOOT….EFI`. */
  | { readonly kind: 'san'; readonly efiFile?: string }
  | {
      readonly kind: 'kernel';
      readonly kernelUrl: string;
      readonly initrdUrls: readonly string[];
      readonly cmdline: string;
    }
  /** An ISO read over HTTP by ranges; it becomes drive 0x80 and our drives move up by one. */
  | { readonly kind: 'iso'; readonly url: string }
  /** A floppy or small ISO held in memory by SYSLINUX's memdisk (BIOS only). */
  | {
      readonly kind: 'memdisk';
      readonly memdiskUrl: string;
      readonly imageUrl: string;
      readonly options: readonly MemdiskOption[];
    }
  | { readonly kind: 'local'; readonly method?: LocalBoot }
  | { readonly kind: 'menu'; readonly items: readonly MenuItem[]; readonly timeoutMs: number }
  | { readonly kind: 'script'; readonly text: string };

/** The words that memdisk understands on its command line. */
export type MemdiskOption = 'iso' | 'floppy' | 'harddisk' | 'raw' | 'bigraw' | 'safeint' | 'nopass';

/**
 * How to leave for the local disk. `auto`: on BIOS boot the first disk and fall back to the
 * firmware's next device; on UEFI give the firmware its turn.
 */
export type LocalBoot = 'auto' | 'exit' | 'san';

/** One line of a menu; choosing it fetches the machine's script again with `plan=<key>`. */
export type MenuItem = { readonly key: string; readonly label: string };

/** Everything that a known machine's script says. */
export type MachineScript = {
  readonly machine: string;
  readonly initiatorIqn: string;
  readonly chap?: ScriptChap;
  readonly drives: readonly SanDrive[];
  readonly plan: ScriptPlan;
  /** `http://address:port` of this server, as the machine reaches it; no trailing slash. */
  readonly baseUrl: string;
  /** Attempts at each drive before the error screen (1–9, default 3). */
  readonly attempts?: number;
};

/** What an unknown machine gets. There is no place in it for a drive, a name or a secret. */
export type UnknownScript = {
  readonly baseUrl: string;
  /** Before the menu goes on to the local disk by itself. */
  readonly timeoutMs?: number;
  readonly local?: LocalBoot;
};
